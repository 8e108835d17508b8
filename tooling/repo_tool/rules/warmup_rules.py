# SPDX-License-Identifier: Apache-2.0
"""CFG5: warm-up requests."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from repo_tool.config.model import ModelTensor, Warmup, WarmupInput
from repo_tool.datatypes import DataType
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_MOST_BYTES = 2**38
_WRAPS = 2**63  # Triton 2.51 counts bytes in 64 bits with sign, and what wraps around is small again
_MANY_RUNS = 1000
_MOST_ROWS = _MOST_RUNS = 10_000_000
# Triton's core lets any batch of a warm-up pass, and strings that are cut off; these backends were seen to refuse them.
_STRICT_BACKENDS = ("onnxruntime", "python", "sklearn")
_MOST_STRING_BYTES = 16 * 1024 * 1024


@rule("CFG501")
def impossible_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up request is one that the model would accept: every input, its type and a fixed shape without the batch.

    Triton sends it before the model counts as ready; when it fails, the model is not loaded.

    Wrong::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true } } }

    Right::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } }
    """
    if model.config.is_ensemble or _is_never_warmed(model):
        return
    for index, warmup in enumerate(model.config.model_warmup):
        if warmup.batch_size > 0:
            for message, cause in _warmup_faults(model, warmup):
                yield Finding(
                    f"warm-up '{warmup.name}' {message}",
                    cause=cause,
                    fix="write it as a request that the model accepts; dims leave the batch out",
                    field=f"model_warmup[{index}]",
                )


def _is_never_warmed(model: ModelSubject) -> bool:
    """Triton skips the warm-up of passive instances."""
    groups = model.config.instance_groups
    return bool(groups) and all(group.passive for group in groups)


def _warmup_faults(model: ModelSubject, warmup: Warmup) -> Iterator[tuple[str, str]]:
    if warmup.batch_size > max(1, model.config.max_batch_size) and _is_strict(model):
        largest = model.config.max_batch_size
        yield f"has batch size {warmup.batch_size}", f"max_batch_size is {largest}; Triton 2.51 crashes on such a one"
    elif warmup.batch_size > _MOST_ROWS:
        yield f"has batch size {warmup.batch_size:,}", "Triton makes a request for every row and is never done"
    if warmup.count > _MOST_RUNS:
        yield f"runs {warmup.count:,} times", "the model is not ready before the last run, which nobody sees"
    given = {tensor.name: tensor for tensor in warmup.inputs}
    inputs = {tensor.name for tensor in model.config.inputs}
    for tensor in warmup.inputs:
        yield from _data_faults(tensor, is_looked_at=tensor.name in inputs or _is_strict(model))
    for declared in model.config.inputs:
        if declared.name in given:
            # A warm-up gives shape tensors a batch dimension, which they do not have.
            batch = (1,) if declared.is_shape_tensor and model.config.max_batch_size > 0 else ()
            yield from _warmup_input_faults(declared, given[declared.name], batch)
    required = [tensor.name for tensor in model.config.inputs if not tensor.optional]
    # Triton counts: an optional input that is there makes up for a required one that is not.
    if len(inputs.intersection(given)) < len(required):
        for name in (name for name in required if name not in given):
            yield f"lacks input '{name}'", "every input that is not optional must be there"
        for name, count in Counter(name for name in required if name in given).items():
            if count > 1:
                yield f"cannot give '{name}' {count} times", f"Triton: expected {count} inputs but got 1 inputs"


def _data_faults(given: WarmupInput, *, is_looked_at: bool) -> Iterator[tuple[str, str]]:
    """What Triton needs of every input of a warm-up; an input that the model lacks is left to the backend."""
    if given.datatype is None and is_looked_at:
        yield f"has no data_type for '{given.name}'", "without one Triton 2.51 refuses the model, or ends"
    if "\0" in given.name:
        yield f"names an input {given.name!r}", "Triton 2.51 ends"
    if -1 in given.dims or (is_looked_at and any(dim < 0 for dim in given.dims)):
        yield f"leaves a dimension of '{given.name}' free", "a request has a shape; every dimension must be a number"
    elif _MOST_BYTES <= math.prod(given.dims) * _element_bytes(given.datatype) < _WRAPS:
        yield f"asks for a huge '{given.name}', {list(given.dims)}", "Triton ends where it cannot get the memory for it"
    if given.zero_data is None and given.random_data is None and given.file is None:
        yield f"has no data for '{given.name}'", "Triton: warmup setting expects input to have input_data_type set"


def _element_bytes(datatype: DataType | None) -> int:
    return (datatype.byte_size if datatype is not None else 0) or 4  # Triton writes a string as 4 bytes of length 0


def _warmup_input_faults(
    declared: ModelTensor, given: WarmupInput, batch: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    if given.datatype not in (None, declared.datatype) and declared.datatype is not None:
        found = given.datatype.config_name if given.datatype else ""
        yield f"has {found} for '{given.name}'", f"the input is {declared.datatype.config_name}"
    if all(dim >= 0 for dim in given.dims) and not _accepts(declared.dims, (*batch, *given.dims)):
        yield f"has dims {list(given.dims)} for '{given.name}'", f"the input has dims {list(declared.dims)}"


def _accepts(declared: Sequence[int], given: Sequence[int]) -> bool:
    same_rank = len(declared) == len(given)
    return same_rank and all(want in (-1, have) for want, have in zip(declared, given, strict=True))


@rule("CFG502", severity=Severity.WARNING)
def skipped_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up has a batch size of 1 or more; Triton skips one with 0, the default, and ignores unknown inputs.

    Wrong::

        model_warmup { name: "w" inputs { ... } }

    Right::

        model_warmup { name: "w" batch_size: 1 inputs { ... } }
    """
    names = {tensor.name for tensor in model.config.inputs} | _made_by_triton(model)
    for index, warmup in enumerate(model.config.model_warmup):
        unknown = sorted({tensor.name for tensor in warmup.inputs} - names)
        if warmup.batch_size == 0:
            yield Finding(
                f"warm-up '{warmup.name}' never runs",
                cause="its batch_size is 0, which Triton skips",
                fix="write batch_size: 1",
                field=f"model_warmup[{index}].batch_size",
            )
        elif unknown:
            yield Finding(
                f"warm-up '{warmup.name}' names inputs that the model lacks: {', '.join(unknown)}",
                cause="Triton drops them and says nothing",
                fix="compare the names with the model's inputs",
                field=f"model_warmup[{index}].inputs",
            )


def _made_by_triton(model: ModelSubject) -> set[str]:
    """The inputs that no client sends and a warm-up may still give: controls and states of sequences, batch inputs."""
    made = {name for entry in model.config.batch_inputs for name in entry.target_names}
    if (sequences := model.config.sequence_batching) is not None:
        made.update(control.name for control in sequences.control_inputs)
        made.update(state.input_name for state in sequences.states)
    return made


@rule("CFG503", severity=Severity.WARNING)
def endless_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up runs a few times; the model is not ready before the last run.

    Wrong::

        model_warmup { name: "w" batch_size: 1 count: 100000 ... }

    Right::

        model_warmup { name: "w" batch_size: 1 count: 3 ... }
    """
    for index, warmup in enumerate(model.config.model_warmup):
        if warmup.count > _MANY_RUNS and warmup.batch_size > 0:
            yield Finding(
                f"warm-up '{warmup.name}' runs {warmup.count:,} times",
                cause="every instance runs it that often before the model is ready",
                fix="write count: 3",
                field=f"model_warmup[{index}].count",
            )


@rule("CFG504", severity=Severity.NOTE)
def random_strings_are_empty(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up of a TYPE_STRING input brings strings from a file; Triton makes no random ones.

    With random_data, as with zero_data, all are empty. A model that splits, decodes or looks up its input does other
    work than with real ones, or fails.

    Wrong::

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] random_data: true } }

    Right::

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text" } }
    """
    for index, warmup in enumerate(model.config.model_warmup):
        for tensor in warmup.inputs:
            if tensor.datatype is DataType.BYTES and tensor.random_data is not None and warmup.batch_size > 0:
                yield Finding(
                    f"warm-up '{warmup.name}' gives empty strings for '{tensor.name}'",
                    cause="Triton has no random strings and takes zeros, which are strings of length 0",
                    fix="write real ones to a file in warmup/, each behind its length in 4 bytes, and input_data_file",
                    field=f"model_warmup[{index}].inputs[{tensor.name}].random_data",
                )


@rule("CFG505")
def wrong_number_of_strings(model: ModelSubject) -> Iterator[Finding]:
    """The file of a TYPE_STRING input holds as many strings as its dims say, each behind its length in 4 bytes.

    Wrong::

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text" } }
        # warmup/text: "hello" as an editor writes it

    Right::

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text" } }
        # warmup/text: 05 00 00 00, then "hello"
    """
    if model.config.is_ensemble or _is_never_warmed(model):
        return
    for index, warmup in enumerate(model.config.model_warmup):
        for tensor in warmup.inputs if warmup.batch_size > 0 else ():
            if tensor.datatype is DataType.BYTES and tensor.file and (cause := _string_fault(model, tensor)):
                yield Finding(
                    f"warm-up '{warmup.name}' cannot take '{tensor.name}' from '{tensor.file}'",
                    cause=cause,
                    fix="write each string behind its length: struct.pack('<I', len(text)) + text",
                    field=f"model_warmup[{index}].inputs[{tensor.name}].input_data_file",
                )


def _string_fault(model: ModelSubject, tensor: WarmupInput) -> str:
    path = model.directory.warmup_path / (tensor.file or "")
    try:
        if not is_file(path) or path.stat().st_size > _MOST_STRING_BYTES:
            return ""  # REP106 has said so, or it is too much to read here
        data = path.read_bytes()
    except (OSError, ValueError):
        return ""
    (found, left), wanted = _strings(data), math.prod(tensor.dims)
    if left > 0:
        return f"Triton: incomplete string length indicator, for {left} bytes are left at the end"
    if found != wanted:
        return f"it has {found} strings, and dims {list(tensor.dims)} are {wanted}"
    return "Triton: incomplete string data, for the last is cut off" if left and _is_strict(model) else ""


def _is_strict(model: ModelSubject) -> bool:
    return model.backend in _STRICT_BACKENDS


def _strings(data: bytes) -> tuple[int, int]:
    """How many strings begin, each behind its length as 4 bytes, lowest first, and the bytes that are left over.

    They are fewer than none where the last string is cut off.
    """
    place = count = 0
    while place + 4 <= len(data):
        place += 4 + int.from_bytes(data[place : place + 4], "little")
        count += 1
    return count, len(data) - place


@rule("CFG506", severity=Severity.WARNING)
def warmup_beyond_the_maximum(model: ModelSubject) -> Iterator[Finding]:
    """The batch of a warm-up is one that clients may send: max_batch_size rows at most.

    Triton's core lets a larger one pass, and NVIDIA's backends refuse it, and with it the model.

    Wrong::

        max_batch_size: 4
        model_warmup { name: "w" batch_size: 8 ... }

    Right::

        max_batch_size: 4
        model_warmup { name: "w" batch_size: 4 ... }
    """
    largest = max(1, model.config.max_batch_size)
    for index, warmup in enumerate(model.config.model_warmup):
        if warmup.batch_size > largest and not (_is_strict(model) or model.config.is_ensemble):
            yield Finding(
                f"warm-up '{warmup.name}' has batch size {warmup.batch_size}, and the model takes {largest}",
                cause="where the backend checks it, the warm-up fails, and the model is not loaded",
                fix=f"write batch_size: {largest}",
                field=f"model_warmup[{index}].batch_size",
            )
