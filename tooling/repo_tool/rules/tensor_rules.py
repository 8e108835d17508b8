# SPDX-License-Identifier: Apache-2.0
"""CFG1: inputs and outputs, by themselves."""

from collections import Counter
from collections.abc import Iterator, Sequence

from repo_tool.config.model import ModelTensor
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG104")
def incomplete_tensor(model: ModelSubject) -> Iterator[Finding]:
    """Every input and output has a name, a data type and dims.

    A 0-d tensor is declared with ``dims: [ 1 ]`` and, when batching, ``reshape { shape: [ ] }``.

    Wrong::

        output [ { name: "label" data_type: TYPE_INT64 } ]

    Right::

        output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] } ]
    """
    for place, tensor in _tensors(model):
        present = {"name": tensor.name, "data_type": tensor.datatype, "dims": tensor.dims}
        for field in (field for field, value in present.items() if not value):
            yield Finding(
                f"{place} '{tensor.name}' has no {field}" if tensor.name else f"{place} has no {field}",
                cause=f"Triton: model {place.split('[')[0]} must specify '{field}'",
                fix=f"add {field}",
                field=f"{place}.{field}",
            )


@rule("CFG105")
def impossible_dimension(model: ModelSubject) -> Iterator[Finding]:
    """Each dimension is 1 or more, or -1 where a request chooses.

    Wrong::

        dims: [ 0, 224 ]

    Right::

        dims: [ -1, 224 ]
    """
    for place, tensor in _tensors(model):
        for field, dims in (("dims", tensor.dims), ("reshape.shape", tensor.reshape or ())):
            if any(dim < -1 or dim == 0 for dim in dims):
                yield Finding(
                    f"{place} '{tensor.name}' has {field} {list(dims)}",
                    cause="Triton: dimension must be integer >= 1, or -1 to indicate a variable-size dimension",
                    fix="write the size, or -1 where a request chooses it",
                    field=f"{place}.{field}",
                )


@rule("CFG106", severity=Severity.WARNING)
def duplicate_tensor(model: ModelSubject) -> Iterator[Finding]:
    """No two inputs and no two outputs share a name.

    Triton keeps one of them and says nothing.

    Wrong::

        input [ { name: "x" ... }, { name: "x" ... } ]

    Right::

        input [ { name: "x" ... }, { name: "y" ... } ]
    """
    for kind, tensors in (("input", model.config.inputs), ("output", model.config.outputs)):
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1:
                yield Finding(
                    f"{count} {kind}s are called '{name}'",
                    cause="Triton keeps one of them and says nothing",
                    fix="give each its own name, or remove the copies",
                    field=kind,
                )


@rule("CFG107")
def impossible_reshape(model: ModelSubject) -> Iterator[Finding]:
    """A reshape keeps the number of elements, and the products between free dimensions.

    An empty one makes a scalar per row: it needs one element in dims and max_batch_size > 0.

    Wrong::

        dims: [ 4 ]  reshape { shape: [ 2, 3 ] }

    Right::

        dims: [ 4 ]  reshape { shape: [ 2, 2 ] }
    """
    for place, tensor in _tensors(model):
        if tensor.reshape is None or not tensor.dims:
            continue
        field = f"{place}.reshape.shape"
        if not tensor.reshape and model.config.max_batch_size <= 0:
            yield Finding(
                f"{place} '{tensor.name}' is reshaped to a scalar, and the model does not batch",
                cause="Triton: cannot have empty reshape for non-batching model as scalar tensors are not supported",
                fix="remove the reshape and write dims: [ 1 ]",
                field=field,
            )
        elif _segments(tensor.dims) != _segments(tensor.reshape):
            yield Finding(
                f"{place} '{tensor.name}' cannot be reshaped from {list(tensor.dims)} to {list(tensor.reshape)}",
                cause="the elements before, between and after the free dimensions differ in number",
                fix="write a shape with as many elements, and a -1 for each -1",
                field=field,
            )


def _segments(shape: Sequence[int]) -> list[int]:
    """The products of the runs between free dimensions: [2, -1, 3, 4] gives [2, 12]."""
    products = [1]
    for dim in shape:
        if dim == -1:
            products.append(1)
        else:
            products[-1] *= dim
    return products


@rule("CFG108")
def image_format_without_three_dims(model: ModelSubject) -> Iterator[Finding]:
    """An input in FORMAT_NHWC or FORMAT_NCHW has three dims; the batch is not one of them.

    Wrong::

        format: FORMAT_NCHW  dims: [ 1, 3, 224, 224 ]

    Right::

        format: FORMAT_NCHW  dims: [ 3, 224, 224 ]
    """
    for index, tensor in enumerate(model.config.inputs):
        if tensor.format != "FORMAT_NONE" and len(tensor.dims) != 3:
            yield Finding(
                f"input '{tensor.name}' is {tensor.format} with {len(tensor.dims)} dims",
                cause="Triton: model input NHWC/NCHW require 3 dims",
                fix="write channels, height and width without the batch, or remove the format",
                field=f"input[{index}].format",
            )


@rule("CFG109", severity=Severity.WARNING)
def no_output(model: ModelSubject) -> Iterator[Finding]:
    """The model has at least one output.

    Triton loads a model without one, and then every request fails.

    Wrong::

        input [ { name: "x" ... } ]

    Right::

        input [ { name: "x" ... } ]
        output [ { name: "y" ... } ]
    """
    if not model.config.outputs and not model.config.is_ensemble:
        yield Finding(
            "the model has no output",
            cause="it loads, and then every request fails: at least one output should be requested",
            fix="list the outputs that clients may ask for",
            field="output",
        )


def _tensors(model: ModelSubject) -> Iterator[tuple[str, ModelTensor]]:
    for index, tensor in enumerate(model.config.inputs):
        yield f"input[{index}]", tensor
    for index, tensor in enumerate(model.config.outputs):
        yield f"output[{index}]", tensor
