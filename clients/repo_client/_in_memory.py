# SPDX-License-Identifier: Apache-2.0
"""A server without a network, for tests: it knows signatures, answers from functions and keeps what it was asked."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._checking import CallChecker
from repo_client._contract import Contract, Tensor
from repo_client._datatypes import DATATYPES
from repo_client._documents import Document
from repo_client._errors import (
    BatchSizeError,
    Facts,
    InputError,
    LoadRefusedError,
    ModelNotFoundError,
    RefusedRequestError,
    RepoClientError,
    UnsupportedCallError,
)
from repo_client._messages import InferRequest, InferResponse
from repo_client._signatures import ModelSignature, TensorSpec
from repo_client._tensors import decode

_CONTRACT_BATCH = 64  # contracts leave out how large a batch may be

Values = Mapping[str, Any]
Answering = Callable[[dict[str, NDArray[Any]]], Values | Iterable[Values]] | Values | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemoryModel:
    """A model of an in-memory server.

    ``answer`` is what it gives by output name: a value for every call, or a function of the input arrays; an iterable
    of such values where the model is decoupled. The function may raise any ``RepoClientError``. Without it, outputs are
    zeros and empty strings of the declared shapes, with as many rows as the request; the first of the words that a
    contract names.
    """

    signature: ModelSignature | Contract  # the contract of a generated client: ``Digits.contract``
    answer: Answering = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What an in-memory server was asked once."""

    method: str  # of ``Transport``: infer, stream, metadata, load ...
    timeout_s: float
    model: str = ""
    version: str = ""
    request: InferRequest | None = None  # of infer and stream
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # of infer and stream; BYTES as objects
    options: Mapping[str, Any] = field(default_factory=dict)  # of load and unload


def model_signature(
    name: str,
    *,
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Mapping[str, tuple[str, Sequence[int]]],
    max_batch_size: int = 0,
    optional: Sequence[str] = (),
    versions: Sequence[str] = ("1",),
    decoupled: bool = False,
    sequence_batching: bool = False,
) -> ModelSignature:
    """A signature in short: ``inputs={"image": ("FP32", [-1, 64])}``, the batch dimension included and first."""
    return ModelSignature(
        name=name,
        version="",
        versions=tuple(versions),
        platform="",
        max_batch_size=max_batch_size,
        inputs=tuple(_spec(tensor, *inputs[tensor], optional=tensor in optional) for tensor in inputs),
        outputs=tuple(_spec(tensor, *outputs[tensor]) for tensor in outputs),
        decoupled=decoupled,
        sequence_batching=sequence_batching,
    )


def _spec(name: str, datatype: str, shape: Sequence[int], *, optional: bool = False) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=tuple(shape), optional=optional)


def contract_signature(contract: Contract) -> ModelSignature:
    """The signature that a generated client was made for."""
    rows = (-1,) if contract.batches else ()

    def spec(tensor: Tensor) -> TensorSpec:
        return TensorSpec(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=(*rows, *tensor.shape),
            optional=tensor.optional,
            columns=tensor.columns,
        )

    return ModelSignature(
        name=contract.model,
        version="",
        versions=("1",),
        platform="",
        max_batch_size=_CONTRACT_BATCH if contract.batches else 0,
        inputs=tuple(map(spec, contract.inputs)),
        outputs=tuple(map(spec, contract.outputs)),
        decoupled=contract.decoupled,
        sequence_batching=contract.sequence,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    signature: ModelSignature
    answer: Answering
    words: Mapping[str, bytes]  # of outputs that can say nothing but words: the first


def _model(given: ModelSignature | Contract | InMemoryModel, answer: Answering) -> _Model:
    whole = given if isinstance(given, InMemoryModel) else InMemoryModel(signature=given, answer=answer)
    promised = whole.signature
    signature = contract_signature(promised) if isinstance(promised, Contract) else promised
    outputs = promised.outputs if isinstance(promised, Contract) else ()
    return _Model(
        signature=replace(signature, versions=signature.versions or ("1",)),
        answer=whole.answer,
        words={tensor.name: tensor.words[0].encode() for tensor in outputs if tensor.words},
    )


class InMemoryServer:
    """What both sides of the in-memory transport share: its models, all loaded at first, and the calls made."""

    def __init__(
        self,
        models: Iterable[ModelSignature | Contract | InMemoryModel],
        answer: Answering,
        failures: Iterable[RepoClientError | None],
    ) -> None:
        self._models = {model.signature.name: model for model in (_model(given, answer) for given in models)}
        self._loaded = set(self._models)
        self._configs: dict[str, Document] = {}
        self._failures = iter(failures)
        self._executions = dict.fromkeys(self._models, 0)
        self.calls: list[Call] = []

    def fail(self, errors: Iterable[RepoClientError | None]) -> None:
        """Let the next calls fail, one with each error; ``None`` is a call that works."""
        self._failures = chain(errors, self._failures)

    def note(self, method: str, timeout_s: float, **facts: Any) -> None:
        """Keep what was asked, then fail if that is due."""
        self.calls.append(Call(method=method, timeout_s=timeout_s, **facts))
        failure = next(self._failures, None)
        if failure is not None:
            raise failure

    def is_model_ready(self, name: str, version: str) -> bool:
        """Whether the model is loaded."""
        return name in self._loaded and version in ("", *self._models[name].signature.versions)

    def metadata(self, name: str, version: str) -> Document:
        """A ``ModelMetadataResponse``."""
        return metadata_document(self._loaded_model(name, version).signature)

    def config(self, name: str, version: str) -> Document:
        """A ``ModelConfig``."""
        signature = self._loaded_model(name, version).signature
        return {**config_document(signature), **self._configs.get(name, {})}

    def infer(self, request: InferRequest, timeout_s: float) -> InferResponse:
        """The one answer of a model."""
        model = self._loaded_model(request.model, request.version)
        if model.signature.decoupled:
            raise UnsupportedCallError(f"model '{request.model}' is decoupled", hint="ask it by a stream")
        return next(self._answers("infer", model, request, timeout_s))

    def stream(self, request: InferRequest, timeout_s: float) -> Iterator[InferResponse]:
        """All answers of a model."""
        return self._answers("stream", self._loaded_model(request.model, request.version), request, timeout_s)

    def _answers(self, method: str, model: _Model, request: InferRequest, timeout_s: float) -> Iterator[InferResponse]:
        kept = request.owned()
        inputs = {tensor.name: decode(tensor, model=request.model) for tensor in kept.inputs}
        names = {"model": request.model, "version": request.version}
        self.note(method, timeout_s, request=kept, inputs=inputs, **names)
        given = model.answer(inputs) if callable(model.answer) else model.answer
        self._executions[request.model] += 1
        for values in _each(given):
            yield _response(model, request, values, rows=_rows(inputs))

    def load(self, name: str, config: str | None) -> None:
        """Load a model that this server knows."""
        if name not in self._models:
            raise _not_found(name, "", f"failed to poll from model repository: no model '{name}'")
        try:
            self._configs[name] = json.loads(config) if config else {}
        except ValueError as error:
            facts = Facts(model=name, server_words=str(error))
            raise LoadRefusedError(f"model '{name}': its config is no JSON: {error}", facts=facts) from error
        self._loaded.add(name)

    def unload(self, name: str) -> None:
        """Unload a model, or nothing."""
        self._loaded.discard(name)

    def repository_index(self) -> Sequence[Document]:
        """The ``ModelIndex`` of each version of each model."""
        return [
            {"name": name, "version": version, "state": "READY"}
            if name in self._loaded
            else {"name": name, "version": version, "state": "UNAVAILABLE", "reason": "unloaded"}
            for name, model in self._models.items()
            for version in model.signature.versions
        ]

    def statistics(self, name: str, version: str) -> Sequence[Document]:
        """The ``ModelStatistics`` of one model or of all; nothing takes time here."""
        models = [self._loaded_model(name, version)] if name else [self._models[each] for each in sorted(self._loaded)]
        return [self._counted(model.signature, version) for model in models]

    def _counted(self, signature: ModelSignature, version: str) -> Document:
        count = self._executions[signature.name]
        return {
            "name": signature.name,
            "version": version or signature.versions[-1],
            "inference_count": count,
            "execution_count": count,
            "inference_stats": {"success": {"count": count}},
        }

    def _loaded_model(self, name: str, version: str) -> _Model:
        if not self.is_model_ready(name, version):
            known = ", ".join(f"'{each}'" for each in sorted(self._loaded)) or "none"
            raise _not_found(name, version, f"the in-memory server has no such model loaded; it has {known}")
        return self._models[name]


def no_regions() -> RefusedRequestError:
    """What a server says that shares no memory with its clients."""
    return RefusedRequestError("no memory can be shared here", facts=Facts(server_words="no memory can be shared here"))


def _not_found(name: str, version: str, words: str) -> ModelNotFoundError:
    facts = Facts(model=name, version=version, server_words=words)
    return ModelNotFoundError(f"model '{name}': {words}", facts=facts)


def _each(given: Values | Iterable[Values] | None) -> Iterable[Values | None]:
    return (given,) if given is None or isinstance(given, Mapping) else given


def _rows(inputs: Mapping[str, NDArray[Any]]) -> int:
    return next((array.shape[0] for array in inputs.values() if array.ndim), 1)


def _response(model: _Model, request: InferRequest, values: Values | None, *, rows: int) -> InferResponse:
    signature = model.signature
    nothing = {tensor.name: _nothing(tensor, model, rows) for tensor in signature.outputs}
    given = nothing if values is None else values
    wanted = request.outputs or tuple(tensor.name for tensor in signature.outputs)
    # What checks the inputs of a call checks the outputs of an answer as well.
    checker = CallChecker(replace(signature, inputs=signature.outputs))
    try:
        arrays = checker.arrays(given, cast="same_kind")
        _check_rows(signature, arrays, rows)
        tensors = {tensor.name: tensor for tensor in checker.encode(arrays)}
    except InputError as error:
        words = error.fact.replace("input '", "output '")
        raise InputError(f"the answer of the test does not fit: {words}", hint=error.hint) from error
    return InferResponse(
        model=request.model,
        version=request.version or signature.versions[-1],
        request_id=request.request_id,
        outputs=tuple(tensors[name].owned() for name in wanted),
    )


def _check_rows(signature: ModelSignature, outputs: Mapping[str, NDArray[Any]], rows: int) -> None:
    if signature.max_batch_size > 0:
        for name, array in outputs.items():
            if array.shape[0] != rows:
                raise BatchSizeError(
                    f"model '{signature.name}', output '{name}': received {array.shape[0]} rows for {rows}",
                    hint="a model that batches gives one row for each",
                )


def _nothing(tensor: TensorSpec, model: _Model, rows: int) -> NDArray[Any]:
    shape = [1 if size < 0 else size for size in tensor.shape]
    if model.signature.max_batch_size > 0:
        shape[0] = rows
    empty = model.words.get(tensor.name, b"") if tensor.datatype == "BYTES" else 0
    return np.full(shape, empty, DATATYPES[tensor.datatype].numpy)


def metadata_document(signature: ModelSignature) -> Document:
    """The ``ModelMetadataResponse`` that tells this signature."""
    return {
        "name": signature.name,
        "versions": list(signature.versions),
        "platform": signature.platform,
        "inputs": [_tensor_document(tensor) for tensor in signature.inputs],
        "outputs": [_tensor_document(tensor) for tensor in signature.outputs],
    }


def _tensor_document(tensor: TensorSpec) -> Document:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def config_document(signature: ModelSignature) -> Document:
    """The ``ModelConfig`` that tells what the metadata leaves out of this signature."""
    document: dict[str, Any] = {
        "name": signature.name,
        "platform": signature.platform,
        "max_batch_size": signature.max_batch_size,
        "input": [_configured(tensor, signature) for tensor in signature.inputs],
        "output": [_configured(tensor, signature) for tensor in signature.outputs],
        "model_transaction_policy": {"decoupled": signature.decoupled},
    }
    columns = {tensor.name: list(tensor.columns) for tensor in signature.inputs if tensor.columns}
    if columns:
        document["parameters"] = {"columns": {"string_value": json.dumps(columns)}}
    return document | ({"sequence_batching": {}} if signature.sequence_batching else {})


def _configured(tensor: TensorSpec, signature: ModelSignature) -> Document:
    return {
        "name": tensor.name,
        "data_type": f"TYPE_{'STRING' if tensor.datatype == 'BYTES' else tensor.datatype}",
        "dims": list(tensor.shape[1:] if signature.max_batch_size > 0 else tensor.shape),
        "optional": tensor.optional,
    }
