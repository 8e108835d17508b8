# SPDX-License-Identifier: Apache-2.0
"""A served model's configuration as typed values, named as in Triton's ``model_config.proto``.

Both protocols write the same configuration differently: gRPC gives 64-bit integers as strings and leaves out zeros,
HTTP writes them all. Read from here, they are equal; Triton loads a document of either again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from repo_client._errors import Facts, InputError, LoadRefusedError, ModelNotFoundError

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorConfig:
    """An input or output as it is configured: ``dims`` are those of one row where the model batches."""

    name: str
    datatype: str  # as on the wire: FP32, INT64, BYTES ...
    dims: tuple[int, ...]  # -1 where a request chooses
    optional: bool = False
    label_filename: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """Executions of the model that run side by side."""

    name: str
    kind: str  # KIND_CPU, KIND_GPU, KIND_MODEL or KIND_AUTO
    count: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Requests wait up to ``max_queue_delay_us`` to be batched with others."""

    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0  # 0: requests have no priorities
    default_priority_level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatching:
    """Requests belong to sequences, each of which goes to one instance."""

    strategy: Literal["direct", "oldest"]
    max_sequence_idle_us: int = 0  # 0: Triton's default of one second


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleStep:
    """One model of an ensemble."""

    model: str
    version: str  # empty: the server chooses
    input_map: Mapping[str, str]  # the model's input to the ensemble's tensor
    output_map: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which versions are served."""

    kind: Literal["latest", "all", "specific"]
    latest: int = 0  # of ``latest``: how many
    versions: tuple[str, ...] = ()  # of ``specific``


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The configuration that the server runs a model with: its file, completed by the server."""

    name: str
    platform: str
    backend: str
    max_batch_size: int  # 0: the model does not batch
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    instance_groups: tuple[InstanceGroup, ...]
    version_policy: VersionPolicy
    dynamic_batching: DynamicBatching | None
    sequence_batching: SequenceBatching | None
    ensemble_steps: tuple[EnsembleStep, ...]  # none: it is no ensemble
    decoupled: bool  # any number of answers to a request
    response_cache: bool
    default_model_filename: str
    parameters: Mapping[str, str]
    document: Document = field(repr=False, compare=False)  # the whole of it, as the protocol gave it


def read_config(document: Document) -> ModelConfig:
    """The configuration that a document tells."""
    return ModelConfig(
        name=document["name"],
        **{key: document.get(key, "") for key in ("platform", "backend", "default_model_filename")},
        max_batch_size=int(document.get("max_batch_size", 0)),
        inputs=tuple(map(_read_tensor, document.get("input", ()))),
        outputs=tuple(map(_read_tensor, document.get("output", ()))),
        instance_groups=tuple(map(_read_group, document.get("instance_group", ()))),
        version_policy=_read_policy(document.get("version_policy", {})),
        dynamic_batching=_read_dynamic(document),
        sequence_batching=_read_sequence(document),
        ensemble_steps=tuple(map(_read_step, document.get("ensemble_scheduling", {}).get("step", ()))),
        decoupled=bool(document.get("model_transaction_policy", {}).get("decoupled", False)),
        response_cache=bool(document.get("response_cache", {}).get("enable", False)),
        parameters={key: value.get("string_value", "") for key, value in document.get("parameters", {}).items()},
        document=document,
    )


def _read_tensor(document: Document) -> TensorConfig:
    datatype = document.get("data_type", "TYPE_INVALID").removeprefix("TYPE_")
    return TensorConfig(
        name=document["name"],
        datatype="BYTES" if datatype == "STRING" else datatype,
        dims=_integers(document.get("dims", ())),
        optional=bool(document.get("optional", False)),
        label_filename=document.get("label_filename", ""),
    )


def _read_group(document: Document) -> InstanceGroup:
    return InstanceGroup(
        name=document.get("name", ""),
        kind=document.get("kind", "KIND_AUTO"),
        count=int(document.get("count", 0)),
        gpus=_integers(document.get("gpus", ())),
    )


def _read_policy(document: Document) -> VersionPolicy:
    if "specific" in document:
        return VersionPolicy(kind="specific", versions=tuple(map(str, document["specific"].get("versions", ()))))
    if "all" in document:
        return VersionPolicy(kind="all")
    return VersionPolicy(kind="latest", latest=int(document.get("latest", {}).get("num_versions", 1)))


def _read_dynamic(config: Document) -> DynamicBatching | None:
    if "dynamic_batching" not in config:
        return None
    document: Document = config["dynamic_batching"]
    return DynamicBatching(
        preferred_batch_sizes=_integers(document.get("preferred_batch_size", ())),
        max_queue_delay_us=int(document.get("max_queue_delay_microseconds", 0)),
        preserve_ordering=bool(document.get("preserve_ordering", False)),
        priority_levels=int(document.get("priority_levels", 0)),
        default_priority_level=int(document.get("default_priority_level", 0)),
    )


def _read_sequence(config: Document) -> SequenceBatching | None:
    if "sequence_batching" not in config:
        return None
    document: Document = config["sequence_batching"]
    return SequenceBatching(
        strategy="oldest" if "oldest" in document else "direct",
        max_sequence_idle_us=int(document.get("max_sequence_idle_microseconds", 0)),
    )


def _read_step(document: Document) -> EnsembleStep:
    version = int(document.get("model_version", -1))
    return EnsembleStep(
        model=document.get("model_name", ""),
        version="" if version < 0 else str(version),
        input_map=dict(document.get("input_map", {})),
        output_map=dict(document.get("output_map", {})),
    )


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def config_text(name: str, config: Document | str | None) -> str | None:
    """A configuration as a server is passed it.

    Raises:
        InputError: it holds what JSON has no word for.
    """
    if config is None or isinstance(config, str):
        return config
    try:
        return json.dumps(config)
    except (TypeError, ValueError) as error:
        hint = "a configuration is made of dict, list, str, int, float and bool"
        raise InputError(f"model '{name}': config is no JSON: {error}", hint=hint, facts=Facts(model=name)) from error


def check_files(name: str, files: Iterable[str], *, has_config: bool) -> None:
    """Refuse files that cannot replace a model's own.

    Raises:
        InputError: there is no configuration with them, or a path leads out of the model's folder.
    """
    facts = Facts(model=name)
    if files and not has_config:
        hint = "pass config= too: the server looks at neither the folder's configuration nor its files then"
        raise InputError(f"model '{name}': files without a configuration", hint=hint, facts=facts)
    for path in map(PurePosixPath, files):
        if path.is_absolute() or ".." in path.parts or not path.parts:
            hint = "paths are those in the model's folder: '1/model.onnx', 'labels.txt'"
            raise InputError(f"model '{name}': '{path}' is no path in its folder", hint=hint, facts=facts)


def refused_config(name: str, error: ModelNotFoundError) -> LoadRefusedError:
    """What it means that the server does not find a model whose configuration it was sent: it cannot read that."""
    return LoadRefusedError(
        f"model '{name}': the server cannot read the configuration that was sent: {error.server_words}",
        hint="the server's log names the field; admin.config(name).document has a whole one to start from",
        facts=Facts(model=name, server_words=error.server_words),
    )
