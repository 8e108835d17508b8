# SPDX-License-Identifier: Apache-2.0
"""Does a model's tensor agree with the configuration's? Verdicts and words of NVIDIA's backends (r24.10)."""

from collections.abc import Iterable

from embedded_configuration import NUMPY_TYPES, ModelConfiguration, TensorConfiguration, refuse, shape_text


def check_name(tensor: TensorConfiguration, provided: Iterable[str], *, kind: str) -> None:
    """``kind`` is input or output; the model must provide the configured name."""
    if tensor.name not in provided:
        refuse(f"unexpected inference {kind} '{tensor.name}', allowed {kind}s are: {', '.join(sorted(provided))}")


def check_input_count(configuration: ModelConfiguration, provided: int) -> None:
    """Every input of the model must be configured; control inputs and batch inputs count, optional ones do not."""
    required = [tensor for tensor in configuration.inputs if not tensor.optional]
    expected = len(required) + len(configuration.control_inputs) + len(configuration.batch_inputs)
    if expected != provided:
        refuse(
            f"unable to load model '{configuration.name}', configuration expects {expected} inputs, "
            f"model provides {provided}"
        )


def check_data_type(
    configuration: ModelConfiguration, tensor: TensorConfiguration, provided: str, *, kind: str
) -> None:
    """``provided`` is the model's type in Triton's words, ``TYPE_<invalid>`` for one that Triton lacks."""
    if tensor.data_type not in NUMPY_TYPES:
        refuse(f"unsupported datatype {tensor.data_type} for {kind} '{tensor.name}' for model '{configuration.name}'")
    if provided != tensor.data_type:
        refuse(
            f"unable to load model '{configuration.name}', configuration expects datatype {tensor.data_type} for "
            f"{kind} '{tensor.name}', model provides {provided}"
        )


def check_dims(
    configuration: ModelConfiguration, tensor: TensorConfiguration, shape: tuple[int, ...], *, exact: bool
) -> None:
    """``shape`` is the model's whole one; where it is free (-1) the configuration may be narrower unless ``exact``."""
    prefix = f"model '{configuration.name}', tensor '{tensor.name}': "
    expected, how = tensor.model_dims, ""
    if configuration.batches:
        if not shape or shape[0] != -1:
            refuse(
                f"{prefix}for the model to support batching the shape should have at least 1 dimension and the first "
                f"dimension must be -1; but shape expected by the model is {shape_text(shape)}"
            )
        expected = (-1, *expected)
        how = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, "
            "making complete "
        )
    if not _agree(shape, expected, exact=exact):
        refuse(
            f"{prefix}the model expects {len(shape)} dimensions (shape {shape_text(shape)}) but the model "
            f"configuration specifies {len(expected)} dimensions ({how}shape {shape_text(expected)})"
        )


def _agree(shape: tuple[int, ...], expected: tuple[int, ...], *, exact: bool) -> bool:
    if len(shape) != len(expected):
        return False
    pairs = zip(shape, expected, strict=True)
    return all(provided == wanted or (provided == -1 and not exact) for provided, wanted in pairs)
