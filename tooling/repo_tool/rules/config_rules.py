# SPDX-License-Identifier: Apache-2.0
"""CFG1: the configuration as a file, and the backend it names."""

from collections.abc import Iterator

from repo_tool.errors import ConfigError, UnknownValueError
from repo_tool.rules.artifacts import PLATFORMS, platforms_of
from repo_tool.rules.diagnostics import Finding
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.registry import Scope, rule
from repo_tool.rules.subjects import ModelSubject
from repo_tool.rules.unnamed_types import is_unnamed_type_refused

_REFUSED_KINDS = ("InstanceGroup.Kind", "BatchInput.Kind", "BatchOutput.Kind")


@rule("CFG101", scope=Scope.TEXT)
def unparsable_config(model: ModelSubject) -> Iterator[Finding]:
    """config.pbtxt is protobuf text of Triton's ModelConfig message.

    One misspelt field, or one that the release does not know, fails the whole file. Only one of dynamic_batching,
    sequence_batching and ensemble_scheduling may be there. The text is read as Triton's own parser reads it: numbers
    without a plus, no escapes in strings but C's, no byte order mark, no UTF-16.

    Wrong::

        max_batchsize: 8

    Right::

        max_batch_size: 8
    """
    error = model.config_error
    if error is not None and _is_refused(error, model) and is_file(model.config_path):
        yield Finding(error.fact, cause=error.cause, fix=error.next_step or "write it as protobuf text")


def _is_refused(error: ConfigError, model: ModelSubject) -> bool:
    """Whether Triton refuses it too: of numbers that name nothing only some."""
    if not isinstance(error, UnknownValueError) or error.cause.endswith(_REFUSED_KINDS):
        return True
    return error.cause.endswith("inference.DataType") and is_unnamed_type_refused(str(model.config_text))


@rule("CFG102", fixable=True)
def unknown_backend_and_platform(model: ModelSubject) -> Iterator[Finding]:
    """Backend and platform name one way to run the model.

    ``backend`` alone is enough and is what new configurations write; a ``platform`` beside it must be that backend's.

    Wrong::

        backend: "onnxruntime"
        platform: "tensorrt_plan"

    Right::

        backend: "onnxruntime"
    """
    config = model.config
    if config.is_ensemble:
        return
    if "\0" in config.backend:
        yield Finding(
            f"there is no backend {config.backend!r}",
            cause="its name is looked for as the name of a folder",
            fix="write the backend's name without the zero byte",
            field="backend",
        )
    elif config.backend == "tensorflow" and not config.platform and model.guessed_backend != "tensorflow":
        yield Finding(
            "the tensorflow backend needs a platform, and no file gives it away",
            cause="Triton: unexpected 'platform' and 'backend' pair, got:, tensorflow",
            fix='write platform: "tensorflow_savedmodel", or "tensorflow_graphdef"',
            field="platform",
        )
    elif config.backend:
        allowed = platforms_of(config.backend, model.release.name)
        if config.platform and allowed and config.platform not in allowed:
            yield Finding(
                f"platform '{config.platform}' does not belong to backend '{config.backend}'",
                cause=f"Triton: unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}",
                fix="remove the platform",
                field="platform",
                edits=(RemoveField("platform"),),
            )
    elif config.platform and config.platform not in _known_platforms(model):
        yield Finding(
            f"there is no platform '{config.platform}'",
            cause="a platform without a backend must be one of Triton's old names, such as onnxruntime_onnx",
            fix='write backend: "..." in its place',
            field="platform",
        )
    elif not config.platform and not model.guessed_backend and (config.default_model_filename or "." not in model.name):
        yield Finding(
            "neither backend nor platform is named",
            cause="and neither default_model_filename nor a file in the first version directory gives the backend away",
            fix='write e.g. backend: "onnxruntime"',
            field="backend",
        )


def _known_platforms(model: ModelSubject) -> set[str]:
    return {platform for backend in PLATFORMS for platform in platforms_of(backend, model.release.name)}


@rule("CFG103")
def negative_max_batch_size(model: ModelSubject) -> Iterator[Finding]:
    """max_batch_size is 0 or more; 0 means that dims are whole shapes and requests are never batched.

    Wrong::

        max_batch_size: -1

    Right::

        max_batch_size: 0
    """
    if model.config.max_batch_size < 0:
        yield Finding(
            f"max_batch_size is {model.config.max_batch_size}",
            cause="Triton: 'max_batch_size' must be non-negative value",
            fix="write 0 for a model that does not batch, else the largest batch",
            field="max_batch_size",
        )
