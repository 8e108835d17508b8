# SPDX-License-Identifier: Apache-2.0
"""Typed clients of a Triton server: numpy in and out, calls checked before the wire, one tree of errors.

::

    with Client("grpc://127.0.0.1:8001") as client:
        model = client.model("digits")
        answer = model.infer({"image": image})
        answer["label"]
"""

from repo_client._answers import Answer
from repo_client._async.admin import AsyncAdmin
from repo_client._async.client import AsyncClient
from repo_client._async.model import AsyncModel
from repo_client._async.sequences import AsyncModelSequence
from repo_client._async.transport import AsyncTransport
from repo_client._calls import CallOptions, Inputs
from repo_client._documents import IndexEntry, ServerMetadata
from repo_client._errors import (
    BatchSizeError,
    ClosedClientError,
    ConnectionLostError,
    DatatypeError,
    DeadlineExceededError,
    ExecutionError,
    InputError,
    LabelNotFoundError,
    LoadRefusedError,
    MissingInputError,
    ModelControlError,
    ModelError,
    ModelNotFoundError,
    ModelUnhealthyError,
    NanError,
    NetworkError,
    NotRecordedError,
    RankError,
    RefusedRequestError,
    RepoClientError,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
    ShapeError,
    SharedMemoryError,
    SignatureChangedError,
    TlsError,
    UnexpectedAnswerError,
    UnknownOutputError,
    UnknownTensorError,
    UnsupportedCallError,
    UrlError,
)
from repo_client._labels import LabelSource
from repo_client._messages import InferRequest, InferResponse, RegionSlice, WireTensor
from repo_client._model_config import (
    DynamicBatching,
    EnsembleStep,
    InstanceGroup,
    ModelConfig,
    SequenceBatching,
    TensorConfig,
    VersionPolicy,
)
from repo_client._options import ConnectionOptions, Retries, Tls
from repo_client._signatures import ModelSignature, TensorSpec
from repo_client._statistics import BatchStatistics, Duration, ModelStatistics, ResponseStatistics
from repo_client._sync.admin import Admin
from repo_client._sync.client import Client
from repo_client._sync.model import Model
from repo_client._sync.sequences import ModelSequence
from repo_client._sync.transport import Transport

__all__ = [
    "Admin",
    "Answer",
    "AsyncAdmin",
    "AsyncClient",
    "AsyncModel",
    "AsyncModelSequence",
    "AsyncTransport",
    "BatchSizeError",
    "BatchStatistics",
    "CallOptions",
    "Client",
    "ClosedClientError",
    "ConnectionLostError",
    "ConnectionOptions",
    "DatatypeError",
    "DeadlineExceededError",
    "Duration",
    "DynamicBatching",
    "EnsembleStep",
    "ExecutionError",
    "IndexEntry",
    "InferRequest",
    "InferResponse",
    "InputError",
    "Inputs",
    "InstanceGroup",
    "LabelNotFoundError",
    "LabelSource",
    "LoadRefusedError",
    "MissingInputError",
    "Model",
    "ModelConfig",
    "ModelControlError",
    "ModelError",
    "ModelNotFoundError",
    "ModelSequence",
    "ModelSignature",
    "ModelStatistics",
    "ModelUnhealthyError",
    "NanError",
    "NetworkError",
    "NotRecordedError",
    "RankError",
    "RefusedRequestError",
    "RegionSlice",
    "RepoClientError",
    "ResponseStatistics",
    "Retries",
    "SequenceBatching",
    "ServerBusyError",
    "ServerError",
    "ServerMetadata",
    "ServerUnreachableError",
    "ShapeError",
    "SharedMemoryError",
    "SignatureChangedError",
    "TensorConfig",
    "TensorSpec",
    "Tls",
    "TlsError",
    "Transport",
    "UnexpectedAnswerError",
    "UnknownOutputError",
    "UnknownTensorError",
    "UnsupportedCallError",
    "UrlError",
    "VersionPolicy",
    "WireTensor",
]
