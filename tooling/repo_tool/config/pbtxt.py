# SPDX-License-Identifier: Apache-2.0
"""``config.pbtxt`` and the frozen values: the only module that touches Triton's protobuf messages."""

__all__ = ["parse", "render"]

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo_tool.config.model import (
    DynamicBatching,
    EnsembleStep,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    ModelTensor,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def parse(text: str) -> ModelConfig:
    """Read a ``config.pbtxt`` with the parser and the message that Triton itself uses.

    Raises:
        ConfigError: the text does not parse, or names a field that the message lacks; ``cause`` says line and column.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
        return _config(message)
    except (text_format.ParseError, ValueError) as error:  # an enum's number that the message lacks is a ValueError
        raise ConfigError(
            "the model configuration does not parse",
            cause=str(error),
            next_step="compare the line with model_config.proto: a misspelt field fails the whole file",
        ) from error


def render(config: ModelConfig, *, verified: bool = True) -> str:
    """The ``config.pbtxt`` of ``config``, commented for the person who reads it, proven to parse back to ``config``.

    Unless ``verified``, its comments do not claim that a server has answered with it.

    Raises:
        ConfigError: what was rendered means something else; a bug of ours, and nothing has been written yet.
    """
    text = _template().render(config=config, verified=verified)
    if parse(text) != config:
        raise ConfigError(
            f"the configuration of '{config.name}' does not survive being written",
            cause="what was rendered parses to other values",
            next_step="please report this with the command you typed",
        )
    return text


@cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # protobuf text, not HTML; strings are quoted by the filter below
    )
    environment.filters |= {"quoted": _quoted, "listed": _listed}
    return environment.get_template("config.pbtxt.j2")


def _quoted(text: str) -> str:
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text.encode(), as_utf8=True)}"'


def _listed(numbers: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, numbers))} ]" if numbers else "[ ]"


def _config(message: Any) -> ModelConfig:
    return ModelConfig(
        name=message.name,
        backend=message.backend,
        platform=message.platform,
        runtime=message.runtime,
        default_model_filename=message.default_model_filename,
        max_batch_size=message.max_batch_size,
        inputs=tuple(_input(tensor) for tensor in message.input),
        outputs=tuple(_output(tensor) for tensor in message.output),
        version_policy=_version_policy(message.version_policy) if message.HasField("version_policy") else None,
        instance_groups=tuple(_instance_group(group) for group in message.instance_group),
        dynamic_batching=_dynamic_batching(message.dynamic_batching) if message.HasField("dynamic_batching") else None,
        has_sequence_batching=message.HasField("sequence_batching"),
        ensemble_steps=tuple(_step(step) for step in message.ensemble_scheduling.step),
        has_ensemble_scheduling=message.HasField("ensemble_scheduling"),
        has_optimization=message.HasField("optimization"),
        response_cache=message.response_cache.enable,
        decoupled=message.model_transaction_policy.decoupled,
        model_warmup=tuple(_warmup(warmup) for warmup in message.model_warmup),
        parameters={key: value.string_value for key, value in message.parameters.items()},
    )


def _datatype(number: int) -> DataType | None:
    from tritonclient.grpc import model_config_pb2

    name = model_config_pb2.DataType.Name(number)
    return None if name == "TYPE_INVALID" else DataType.from_config(name)


def _input(message: Any) -> ModelTensor:
    from tritonclient.grpc import model_config_pb2

    return ModelTensor(
        name=message.name,
        datatype=_datatype(message.data_type),
        dims=tuple(message.dims),
        reshape=tuple(message.reshape.shape) if message.HasField("reshape") else None,
        optional=message.optional,
        allow_ragged_batch=message.allow_ragged_batch,
        format=model_config_pb2.ModelInput.Format.Name(message.format),
    )


def _output(message: Any) -> ModelTensor:
    return ModelTensor(
        name=message.name,
        datatype=_datatype(message.data_type),
        dims=tuple(message.dims),
        reshape=tuple(message.reshape.shape) if message.HasField("reshape") else None,
        label_filename=message.label_filename,
    )


def _version_policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    return VersionPolicy(
        latest=message.latest.num_versions if choice == "latest" else None,
        specific=tuple(message.specific.versions),
        all_versions=choice == "all",
    )


def _instance_group(message: Any) -> InstanceGroup:
    from tritonclient.grpc import model_config_pb2

    kind = model_config_pb2.ModelInstanceGroup.Kind.Name(message.kind)
    return InstanceGroup(name=message.name, kind=InstanceKind(kind), count=message.count, gpus=tuple(message.gpus))


def _dynamic_batching(message: Any) -> DynamicBatching:
    return DynamicBatching(
        preferred_batch_sizes=tuple(message.preferred_batch_size),
        max_queue_delay_us=message.max_queue_delay_microseconds,
        preserve_ordering=message.preserve_ordering,
        priority_levels=message.priority_levels,
        default_priority_level=message.default_priority_level,
        priority_queue_policy_levels=tuple(sorted(message.priority_queue_policy)),
    )


def _step(message: Any) -> EnsembleStep:
    return EnsembleStep(
        model_name=message.model_name,
        model_version=message.model_version,
        input_map=dict(message.input_map),
        output_map=dict(message.output_map),
    )


def _warmup(message: Any) -> Warmup:
    return Warmup(
        name=message.name,
        batch_size=message.batch_size,
        inputs=tuple(  # a map of the proto, which has no order
            WarmupInput(
                name=name,
                datatype=datatype,
                dims=tuple(tensor.dims),
                file=tensor.input_data_file,
            )
            for name, tensor in sorted(message.inputs.items())
            if (datatype := _datatype(tensor.data_type)) is not None
        ),
    )
