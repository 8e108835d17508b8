# SPDX-License-Identifier: Apache-2.0
"""Models described from their files: configuration, labels, provenance and published sample."""

__all__ = ["describe_model", "describe_repository"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repo_tool.client_code.description import Example, ModelDescription, TensorDescription
from repo_tool.client_code.words import pipeline_words, read_published_pipeline
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.config.served_versions import served_versions
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError, RepositoryError, SampleError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import read_provenance
from repo_tool.samples import Array, Sample, read_published_sample

_LARGEST_LABELS = 1 << 22  # bytes


def describe_repository(repository: ModelRepository, names: Sequence[str] = ()) -> tuple[ModelDescription, ...]:
    """The models called ``names``, or all of them, by name.

    Raises:
        RepositoryError: one is not there, or has no configuration.
        ConfigError: a configuration does not parse, or does not say what the model takes and gives.
    """
    wanted = [repository.existing_model(name) for name in names] or list(repository.models())
    found = {directory.name: describe_model(repository, directory) for directory in wanted}
    return tuple(found[name] for name in sorted(found))


def describe_model(repository: ModelRepository, directory: ModelDirectory) -> ModelDescription:
    """One model, as it is served: by the newest version that its policy chooses.

    Raises:
        RepositoryError: it has no configuration.
        ConfigError: that does not parse, or does not say what the model takes and gives.
    """
    config = directory.read_config()
    version = _served_version(directory, config)
    facts = _facts(directory, version)
    sample = _sample(directory, version)
    outputs = _outputs(repository, directory, version, config, facts)
    description = ModelDescription(
        name=directory.name,
        max_batch_size=config.max_batch_size,
        inputs=tuple(_input(tensor, directory.name, _columns(config)) for tensor in config.inputs),
        outputs=tuple(replace(tensor, is_text=_is_text(tensor, sample)) for tensor in outputs),
        is_decoupled=bool(config.decoupled),
        is_sequence=config.sequence_batching is not None,
        version=version,
        made_with=str(facts.get("framework") or config.backend or config.platform),
        release=str(facts.get("release") or ""),
        about=read_published_pipeline(directory, version).get("description", ""),
    )
    _check_tensors(description)
    return replace(description, example=_example(repository, directory, description, sample))


def _served_version(directory: ModelDirectory, config: ModelConfig) -> int | None:
    there = directory.versions()
    served = [version for version in served_versions(config.version_policy, there) if version in there]
    return max(served or there, default=None)


def _facts(directory: ModelDirectory, version: int | None) -> Mapping[str, Any]:
    """What the provenance tells; nothing of a model that somebody else published."""
    try:
        return read_provenance(directory.provenance_path(version)) if version is not None else {}
    except RepositoryError:
        return {}


def _sample(directory: ModelDirectory, version: int | None) -> Sample | None:
    try:
        return read_published_sample(directory.sample_path(version)) if version is not None else None
    except SampleError:
        return None


def _check_tensors(description: ModelDescription) -> None:
    for side, tensors in (("input", description.inputs), ("output", description.outputs)):
        if not tensors:
            raise ConfigError(
                f"the configuration of '{description.name}' names no {side}",
                cause="the server completes it from the model's file",
                next_step="write it down, or read the models from a server: --server URL",
            )


def _columns(config: ModelConfig) -> Mapping[str, Any]:
    """The parameter in which ``add-model`` publishes the names of an input's columns."""
    try:
        columns = json.loads(config.parameters.get("columns", "{}"))
    except (ValueError, RecursionError):
        return {}
    return columns if isinstance(columns, Mapping) else {}


def _datatype(tensor: ModelTensor, model: str) -> DataType:
    if tensor.datatype is None:
        raise ConfigError(
            f"tensor '{tensor.name}' of model '{model}' has no data type", next_step="write its data_type down"
        )
    return tensor.datatype


def _input(tensor: ModelTensor, model: str, columns: Mapping[str, Any]) -> TensorDescription:
    names = columns.get(tensor.name)
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return TensorDescription(
        name=tensor.name,
        datatype=_datatype(tensor, model),
        shape=tensor.dims,
        optional=tensor.optional,
        columns=tuple(names) if is_list and names else (),
    )


def _outputs(
    repository: ModelRepository,
    directory: ModelDirectory,
    version: int | None,
    config: ModelConfig,
    facts: Mapping[str, Any],
) -> tuple[TensorDescription, ...]:
    words = pipeline_words(repository, directory, version, facts)
    return tuple(_output(directory, tensor, words.get(tensor.name, ())) for tensor in config.outputs)


def _output(directory: ModelDirectory, tensor: ModelTensor, words: tuple[str, ...]) -> TensorDescription:
    datatype = _datatype(tensor, directory.name)
    labels = _labels(directory.path, tensor.label_filename)
    fits = datatype is not DataType.BYTES and tensor.dims == (len(labels),)
    return TensorDescription(
        name=tensor.name,
        datatype=datatype,
        shape=tensor.dims,
        classes=labels if fits and len(labels) > 1 else (),  # of one score none is the most probable
        words=words if datatype is DataType.BYTES else (),
    )


def _labels(folder: Path, name: str) -> tuple[str, ...]:
    """The lines of a label file, as Triton reads them; none of one that lies elsewhere or does not read."""
    path = folder / name
    if not name or not path.resolve().is_relative_to(folder.resolve()):
        return ()
    try:
        with path.open(encoding="utf-8", newline="\n") as stream:
            text = stream.read(_LARGEST_LABELS)
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))


def _is_text(tensor: TensorDescription, sample: Sample | None) -> bool:
    """Whether BYTES are known to be words: by their list, or by all that the published sample holds of them."""
    if tensor.datatype is not DataType.BYTES or tensor.words:
        return bool(tensor.words)
    found = sample.outputs.get(tensor.name) if sample is not None else None
    return found is not None and found.size > 0 and all(map(_is_utf8, found.reshape(-1).tolist()))


def _is_utf8(value: bytes) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _example(
    repository: ModelRepository, directory: ModelDirectory, description: ModelDescription, sample: Sample | None
) -> Example | None:
    needed = {tensor.name for tensor in description.inputs if not tensor.optional}
    if sample is None or description.version is None or not needed <= sample.inputs.keys():
        return None
    path = directory.sample_path(description.version).relative_to(repository.path)
    return Example(
        inputs=_first(description, description.inputs, sample.inputs),
        outputs=_first(description, description.outputs, sample.outputs),
        path=f"{repository.path.resolve().name}/{path.as_posix()}",
    )


def _first(
    description: ModelDescription, tensors: Sequence[TensorDescription], arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """The first row, in the shapes of the wire: the model's own tensors may have other ranks (``reshape``)."""
    rows = {
        tensor.name: arrays[tensor.name][:1].reshape(arrays[tensor.name].shape[1:])
        if description.batches
        else arrays[tensor.name]
        for tensor in tensors
        if tensor.name in arrays
    }
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    return {name: row if -1 in shapes[name] else row.reshape(shapes[name]) for name, row in rows.items()}
