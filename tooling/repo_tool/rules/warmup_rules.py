# SPDX-License-Identifier: Apache-2.0
"""CFG5: warm-up requests."""

from collections.abc import Iterator, Sequence

from repo_tool.config.model import ModelTensor, Warmup, WarmupInput
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG501")
def impossible_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up request is one that the model would accept: every input, its type and a fixed shape without the batch.

    Triton sends it before the model counts as ready; when it fails, the model is not loaded.

    Wrong::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true } } }

    Right::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } }
    """
    if model.config.is_ensemble:
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


def _warmup_faults(model: ModelSubject, warmup: Warmup) -> Iterator[tuple[str, str]]:
    if warmup.batch_size > max(1, model.config.max_batch_size):
        largest = model.config.max_batch_size
        yield f"has batch size {warmup.batch_size}", f"max_batch_size is {largest}; Triton 2.51 crashes on such a one"
    given = {tensor.name: tensor for tensor in warmup.inputs}
    for declared in model.config.inputs:
        if declared.name in given:
            yield from _warmup_input_faults(declared, given[declared.name])
        elif not declared.optional:
            yield f"lacks input '{declared.name}'", "every input that is not optional must be there"


def _warmup_input_faults(declared: ModelTensor, given: WarmupInput) -> Iterator[tuple[str, str]]:
    if given.datatype is not declared.datatype and declared.datatype is not None:
        found = given.datatype.config_name if given.datatype else "no data_type"
        yield f"has {found} for '{given.name}'", f"the input is {declared.datatype.config_name}"
    if any(dim < 0 for dim in given.dims):
        yield f"leaves a dimension of '{given.name}' free", "a request has a shape; every dimension must be a number"
    elif not _accepts(declared.dims, given.dims):
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
    names = {tensor.name for tensor in model.config.inputs}
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
