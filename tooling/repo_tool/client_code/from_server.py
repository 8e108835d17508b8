# SPDX-License-Identifier: Apache-2.0
"""Models described by the server that serves them: what they take and give, without labels and examples."""

__all__ = ["describe_served"]

from collections.abc import Sequence

from repo_client import Client, ModelSignature, TensorSpec
from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.datatypes import DataType


def describe_served(client: Client, names: Sequence[str] = ()) -> tuple[ModelDescription, ...]:
    """The models called ``names``, or all that are ready, by name.

    Raises:
        repo_client.RepoClientError: the server cannot be asked, or has not loaded one of them.
    """
    wanted = set(names) or {entry.name for entry in client.admin.repository_index() if entry.is_ready}
    return tuple(_described(client.model(name).signature) for name in sorted(wanted))


def _described(served: ModelSignature) -> ModelDescription:
    batches = served.max_batch_size > 0
    return ModelDescription(
        name=served.name,
        max_batch_size=served.max_batch_size,
        inputs=tuple(_tensor(tensor, batches=batches) for tensor in served.inputs),
        outputs=tuple(_tensor(tensor, batches=batches) for tensor in served.outputs),
        is_decoupled=served.decoupled,
        is_sequence=served.sequence_batching,
        version=max((int(version) for version in served.versions), default=None),
        made_with=served.platform,
    )


def _tensor(tensor: TensorSpec, *, batches: bool) -> TensorDescription:
    return TensorDescription(
        name=tensor.name,
        datatype=DataType.from_wire(tensor.datatype),
        shape=tensor.shape[1:] if batches else tensor.shape,
        optional=tensor.optional,
        columns=tensor.columns,
    )
