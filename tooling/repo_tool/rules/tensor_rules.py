# SPDX-License-Identifier: Apache-2.0
"""CFG1: inputs and outputs, by themselves and as Triton joins and splits them for a batch."""

from collections import Counter
from collections.abc import Iterator, Sequence

from repo_tool.config.model import BatchInput, BatchOutput, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.fixes import RemoveField
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

    Triton loads such a model. With an input twice every request fails, since Triton counts two and gets one; of an
    output it keeps one declaration and says nothing.

    Wrong::

        input [ { name: "x" ... }, { name: "x" ... } ]

    Right::

        input [ { name: "x" ... }, { name: "y" ... } ]
    """
    causes = {
        "input": "it loads, and then every request fails: expected 2 inputs but got 1",
        "output": "Triton keeps one of them and says nothing",
    }
    for kind, tensors in (("input", model.config.inputs), ("output", model.config.outputs)):
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1:
                yield Finding(
                    f"{count} {kind}s are called '{name}'",
                    cause=causes[kind],
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


@rule("CFG110", fixable=True)
def tensorrt_only_tensor(model: ModelSubject) -> Iterator[Finding]:
    """``is_shape_tensor`` and ``is_non_linear_format_io`` are for TensorRT.

    Wrong::

        backend: "onnxruntime"
        input [ { name: "size" ... is_shape_tensor: true } ]

    Right::

        backend: "onnxruntime"
        input [ { name: "size" ... } ]
    """
    if "tensorrt" in (model.backend, model.config.platform) or model.config.platform == "tensorrt_plan":
        return
    words = {
        "is_shape_tensor": "shape tensors are only supported for TensorRT platform",
        "is_non_linear_format_io": "Non-linear IO format is only supported for the TensorRT platform",
    }
    for place, tensor in _tensors(model):
        flags = {"is_shape_tensor": tensor.is_shape_tensor, "is_non_linear_format_io": tensor.is_non_linear_format_io}
        for field in (field for field, is_set in flags.items() if is_set):
            yield Finding(
                f"{place} '{tensor.name}' has {field}, and the backend is '{model.backend}'",
                cause=f"Triton: {words[field]}",
                fix=f"remove {field}",
                field=f"{place}.{field}",
                edits=(RemoveField(f"{place}.{field}"),),
            )


@rule("CFG111")
def non_linear_format_without_three_dims(model: ModelSubject) -> Iterator[Finding]:
    """A tensor with ``is_non_linear_format_io`` has three dims; the batch is not one of them.

    Wrong::

        dims: [ 1, 3, 224, 224 ]  is_non_linear_format_io: true

    Right::

        dims: [ 3, 224, 224 ]  is_non_linear_format_io: true
    """
    for place, tensor in _tensors(model):
        if tensor.is_non_linear_format_io and len(tensor.dims) != 3:
            yield Finding(
                f"{place} '{tensor.name}' has is_non_linear_format_io and {len(tensor.dims)} dims",
                cause=f"Triton: Non-linear IO format {place.split('[')[0]} requires 3 dims",
                fix="write channels, height and width without the batch, or remove is_non_linear_format_io",
                field=f"{place}.dims",
            )


@rule("CFG112", severity=Severity.WARNING, fixable=True)
def ragged_without_batching(model: ModelSubject) -> Iterator[Finding]:
    """allow_ragged_batch goes with max_batch_size > 0; without batches there is nothing to join.

    Wrong::

        max_batch_size: 0
        input [ { ... allow_ragged_batch: true } ]

    Right::

        max_batch_size: 8
        input [ { ... allow_ragged_batch: true } ]
    """
    for index, tensor in enumerate(model.config.inputs):
        if tensor.allow_ragged_batch and model.config.max_batch_size == 0:
            yield Finding(
                f"input '{tensor.name}' allows ragged batches, and the model does not batch",
                cause="with max_batch_size 0 requests are never joined, and Triton says nothing",
                fix="set max_batch_size, or remove allow_ragged_batch",
                field=f"input[{index}].allow_ragged_batch",
                edits=(RemoveField(f"input[{index}].allow_ragged_batch"),),
            )


@rule("CFG113")
def impossible_batch_input(model: ModelSubject) -> Iterator[Finding]:
    """A batch_input is made from one input of the model and is TYPE_INT32 or TYPE_FP32.

    Wrong::

        batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "count" data_type: TYPE_INT64 source_input: "x" } ]

    Right::

        batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "count" data_type: TYPE_INT32 source_input: "x" } ]
    """
    for index, made in enumerate(model.config.batch_inputs):
        place = f"batch_input[{index}]"
        yield from _source_faults(model, place, made)
        if made.datatype not in (DataType.INT32, DataType.FP32):
            found = made.datatype.config_name if made.datatype else "missing"
            yield Finding(
                f"the data_type of {place} is {found}",
                cause="Triton: batch input data type must be TYPE_INT32 or TYPE_FP32",
                fix="write data_type: TYPE_INT32",
                field=f"{place}.data_type",
            )


@rule("CFG114")
def impossible_batch_output(model: ModelSubject) -> Iterator[Finding]:
    """A batch_output splits outputs of the model, each named once, by the shapes of one input.

    Without a target_name Triton 2.51 ends when it loads the model.

    Wrong::

        batch_output [ { target_name: "scores" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" } ]
        output [ { name: "y" ... } ]

    Right::

        batch_output [ { target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" } ]
        output [ { name: "y" ... } ]
    """
    outputs = {tensor.name for tensor in model.config.outputs}
    for index, split in enumerate(model.config.batch_outputs):
        place = f"batch_output[{index}]"
        yield from _source_faults(model, place, split)
        for message, cause in _target_faults(split, outputs):
            yield Finding(
                f"{place} {message}",
                cause=cause,
                fix=f"name outputs of the model once each: {', '.join(sorted(outputs)) or 'it has none'}",
                field=f"{place}.target_name",
            )


def _source_faults(model: ModelSubject, place: str, entry: BatchInput | BatchOutput) -> Iterator[Finding]:
    inputs = [tensor.name for tensor in model.config.inputs]
    if len(entry.source_inputs) != 1:
        kind = place.partition("[")[0].replace("_", " ")
        yield Finding(
            f"{place} has {len(entry.source_inputs)} source inputs",
            cause=f"Triton: {kind} kind '{entry.kind}' expects 1 source input, got {len(entry.source_inputs)}",
            fix=f'write source_input: "{inputs[0]}"' if inputs else "add the input that it is made from",
            field=f"{place}.source_input",
        )
    for name in entry.source_inputs:
        if name not in inputs:
            yield Finding(
                f"{place} is made from '{name}', which is no input",
                cause=f"Triton: unknown source input name '{name}'",
                fix=f"name one of the inputs: {', '.join(inputs) or 'the model has none'}",
                field=f"{place}.source_input",
            )


def _target_faults(split: BatchOutput, outputs: set[str]) -> Iterator[tuple[str, str]]:
    if not split.target_names:
        yield "names no output", "Triton 2.51 ends when it loads the model"
    for name, count in Counter(split.target_names).items():
        if name not in outputs:
            yield f"splits '{name}', which is no output", f"Triton: unknown target output name '{name}'"
        if count > 1:
            yield f"names '{name}' {count} times", f"Triton: target output name '{name}' can only be specified once"


@rule("CFG115", severity=Severity.WARNING)
def useless_batch_input(model: ModelSubject) -> Iterator[Finding]:
    """A batch_input has a name of its own, under which the model gets it.

    Without a target_name Triton makes nothing; under the name of an input the backend gets two tensors of one name.

    Wrong::

        batch_input [ { kind: BATCH_ELEMENT_COUNT data_type: TYPE_FP32 source_input: "x" } ]

    Right::

        batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "count" data_type: TYPE_FP32 source_input: "x" } ]
    """
    inputs = {tensor.name for tensor in model.config.inputs}
    for index, made in enumerate(model.config.batch_inputs):
        taken = sorted(inputs.intersection(made.target_names))
        if taken or not made.target_names:
            yield Finding(
                f"batch_input[{index}] is called like the input '{taken[0]}'"
                if taken
                else f"batch_input[{index}] has no target_name",
                cause="the model cannot tell the two apart" if taken else "Triton makes nothing of it",
                fix="write a target_name that no input has",
                field=f"batch_input[{index}].target_name",
            )


@rule("CFG116", severity=Severity.NOTE)
def rows_without_ends(model: ModelSubject) -> Iterator[Finding]:
    """A model with ragged inputs learns from a batch_input where each request's values end.

    Triton joins the values of all requests of a batch end to end.

    Wrong::

        input [ { name: "tokens" ... allow_ragged_batch: true } ]

    Right::

        input [ { name: "tokens" ... allow_ragged_batch: true } ]
        batch_input [ { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ends" data_type: TYPE_FP32
                        source_input: "tokens" } ]
    """
    if model.config.backend == "python" and "wires" in model.config.parameters:
        return  # made for a pipeline: it takes the requests of a batch one by one, as the Python backend gives them
    counted = {name for made in model.config.batch_inputs for name in made.source_inputs}
    for index, tensor in enumerate(model.config.inputs):
        is_ragged = tensor.allow_ragged_batch and model.config.max_batch_size > 1 and not model.config.is_ensemble
        if is_ragged and tensor.name not in counted:
            yield Finding(
                f"nothing tells the model where the requests' values in '{tensor.name}' end",
                cause="Triton joins the values of a batch end to end",
                fix="add a batch_input of kind BATCH_ACCUMULATED_ELEMENT_COUNT for it, unless they end by themselves",
                field=f"input[{index}].allow_ragged_batch",
            )


@rule("CFG117")
def labels_given_twice(model: ModelSubject) -> Iterator[Finding]:
    """The labels of an output come from one file: it is not declared again with another, nor with the same.

    Wrong::

        output [ { name: "class" ... label_filename: "labels.txt" },
                 { name: "class" ... label_filename: "labels.txt" } ]

    Right::

        output [ { name: "class" ... label_filename: "labels.txt" } ]
    """
    labelled = Counter(tensor.name for tensor in model.config.outputs if tensor.label_filename)
    for name in (name for name, count in labelled.items() if count > 1):
        yield Finding(
            f"the output '{name}' has {labelled[name]} label files",
            cause=f"Triton: multiple label files for '{name}'",
            fix="declare the output once",
            field="output",
        )


def _tensors(model: ModelSubject) -> Iterator[tuple[str, ModelTensor]]:
    for index, tensor in enumerate(model.config.inputs):
        yield f"input[{index}]", tensor
    for index, tensor in enumerate(model.config.outputs):
        yield f"output[{index}]", tensor
