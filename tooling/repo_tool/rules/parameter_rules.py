# SPDX-License-Identifier: Apache-2.0
"""CFG6: the parameters that a backend reads."""

import re
from collections.abc import Iterator

from repo_tool.columns import COLUMNS_PARAMETER
from repo_tool.repository.stamps import without_stamps
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_INTEGER_PARAMETERS = ("intra_op_thread_count", "inter_op_thread_count", "execution_mode")
_BOOLEAN_PARAMETERS = ("enable_mem_arena", "enable_mem_pattern")
_BOOLEAN_WORDS = ("true", "false", "on", "off", "1", "0")
# Read on a GPU only, checked there.
_GPU_PARAMETERS = (
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
)
_ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_OTHER_PARAMETERS = (
    _ARENA_SHRINKAGE,
    "session.use_device_allocator_for_initializers",
    "share_session_between_instances",
    COLUMNS_PARAMETER,  # not read by it but by clients
)
_ONNXRUNTIME_PARAMETERS = (*_INTEGER_PARAMETERS, *_BOOLEAN_PARAMETERS, *_GPU_PARAMETERS, *_OTHER_PARAMETERS)
_INT32 = 2**31


@rule("CFG601")
def unreadable_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters of the onnxruntime backend are numbers and words that it can read.

    Thread counts are integers that fit 32 bits (a larger one ends the whole server), ``execution_mode`` is 0 or 1, and
    ``enable_mem_arena`` and ``enable_mem_pattern`` are true, false, on, off, 1 or 0.

    Wrong::

        parameters { key: "intra_op_thread_count" value { string_value: "four" } }

    Right::

        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    if model.backend != "onnxruntime":
        return
    for key, value in model.config.parameters.items():
        if wanted := _wanted_value(key, value):
            yield Finding(
                f"the parameter {key} is '{value}'",
                cause=f"it must be {wanted}",
                fix="write such a value, or remove the parameter",
                field=f"parameters[{key}]",
            )


def _wanted_value(key: str, value: str) -> str:
    """What the parameter must be; "" when the backend reads its value."""
    if key in _BOOLEAN_PARAMETERS and value.lower() not in _BOOLEAN_WORDS:
        return "true or false"
    if key not in _INTEGER_PARAMETERS:
        return ""
    number = re.match(r"\s*[+-]?[0-9]+", value)  # what stoi reads: the digits in front
    if number is None or len(value) > 64 or not -_INT32 <= int(number.group()) < _INT32:
        return "a whole number of 32 bits"
    return "0 or 1" if key == "execution_mode" and int(number.group()) not in (0, 1) else ""


@rule("CFG602", severity=Severity.WARNING)
def ignored_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters of the onnxruntime backend are ones it knows, written so that all of the value counts.

    Others are ignored without a word. Of "2abc" it reads the 2.

    Wrong::

        parameters { key: "intra_op_num_threads" value { string_value: "4" } }

    Right::

        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    if model.backend != "onnxruntime":
        return
    for key, value in without_stamps(model.config).parameters.items():
        for message, cause, fix in _parameter_traps(key, value):
            yield Finding(message, cause=cause, fix=fix, field=f"parameters[{key}]")


def _parameter_traps(key: str, value: str) -> Iterator[tuple[str, str, str]]:
    if key not in _ONNXRUNTIME_PARAMETERS:
        yield f"the onnxruntime backend does not know the parameter '{key}'", "it ignores it", "check the spelling"
    elif key in _INTEGER_PARAMETERS and re.match(r"\s*[+-]?[0-9]+(?![0-9])\s*\S", value):
        yield f"the parameter {key} is '{value}'", "only the digits in front count", "write the number alone"
    elif key == _ARENA_SHRINKAGE and not re.fullmatch(r"(cpu|gpu):[0-9]+(;(cpu|gpu):[0-9]+)*", value):
        yield f"the parameter {key} is '{value}'", "the model loads, and then every request fails", "write cpu:0"
