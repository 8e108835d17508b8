# SPDX-License-Identifier: Apache-2.0
"""The transformations themselves; each runs in the worker process and writes a new ``model.onnx``."""

__all__ = ["optimized", "to_fp16", "to_int8"]

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, Tensors

_EXTERNAL_ABOVE = 1 << 30  # bytes of a model; protobuf ends at twice that
_CALIBRATION_ROWS = 256
_PER_CHANNEL_OPSET = 13  # QuantizeLinear has an axis since then
_NO_FLOAT_WEIGHTS = "it has no layer with float weights to store smaller: trees and look-ups stay as they are"


def to_fp16(source: Path, folder: Path) -> tuple[Path, str]:
    """Weights and arithmetic in half precision; inputs and outputs, and operators without one, stay float32."""
    with needs_extra("onnx"):
        import onnx
        from onnxruntime.transformers import float16

    model = onnx.load_model(source)
    with refusing("the model does not convert to fp16", next_step="leave --precision out"):
        small = float16.convert_float_to_float16(model, keep_io_types=True)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in small.graph.initializer):
        raise SourceError(
            "fp16 would change nothing in this model", cause=_NO_FLOAT_WEIGHTS, next_step="leave --precision out"
        )
    if any(node.op_type.startswith("TreeEnsemble") for node in model.graph.node):
        raise SourceError(
            "fp16 is not for models with trees",
            cause="rounded to half precision, rows fall on the other side of a tree's thresholds",
            next_step="leave --precision out",
        )
    return _save(small, folder), "weights and arithmetic in fp16, inputs and outputs as before"


def to_int8(source: Path, folder: Path, rows: Tensors | None) -> tuple[Path, str]:
    """Weights in 8 bits; activations too, by their range over ``rows`` if there are any, else measured at each run.

    Returns:
        The new file and what was done.

    Raises:
        SourceError: nothing in it can be quantised.
    """
    with needs_extra("onnx"):
        from onnxruntime import quantization

    target = folder / "model.onnx"
    prepared = _prepared(source, folder)
    wide = _weight(source) > _EXTERNAL_ABOVE
    with refusing("the model does not quantise to int8", next_step="leave --precision out, or try --precision fp16"):
        if rows is None:
            quantization.quantize_dynamic(
                prepared, target, weight_type=quantization.QuantType.QInt8, use_external_data_format=wide
            )
            how = "weights in int8, activations quantised at each run: without --sample their range is not known"
        else:
            _quantize_static(prepared, target, rows, wide=wide)
            how = f"weights and activations in int8, calibrated on {_count(rows)} sample rows"
    prepared.unlink()
    if not _is_quantized(target):
        raise SourceError(
            "int8 would change nothing in this model", cause=_NO_FLOAT_WEIGHTS, next_step="leave --precision out"
        )
    return target, how


def _quantize_static(prepared: Path, target: Path, rows: Tensors, *, wide: bool) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.registry import QDQRegistry

    options = {
        # Softmax answers shares: quantised, its small ones would all be zero.
        "op_types_to_quantize": sorted(set(QDQRegistry) - {"Softmax"}),
        "use_external_data_format": wide,
    }
    try:
        quantization.quantize_static(prepared, target, _calibration(rows), per_channel=_has_axes(prepared), **options)
    except ValueError:  # ONNX Runtime 1.31 cannot quantise the bias of a Gemm whose weights have a scale per channel
        quantization.quantize_static(prepared, target, _calibration(rows), per_channel=False, **options)


def _prepared(source: Path, folder: Path) -> Path:
    """Shapes inferred and constants folded, as the quantiser asks for; the model as it is where that fails."""
    from onnxruntime.quantization import shape_inference

    prepared, taken = folder / "prepared.onnx", _whole(source, folder)
    with refusing("the model does not quantise to int8", next_step="leave --precision out, or try --precision fp16"):
        shape_inference.quant_pre_process(
            taken, prepared, skip_symbolic_shape=True, skip_optimization=_weight(source) > _EXTERNAL_ABOVE
        )
    if taken != source:
        taken.unlink()
    _forget_shapes(prepared)
    return prepared


def _forget_shapes(path: Path) -> None:
    """Without the shapes noted between the operators: ones that folding left behind end the quantiser's inference."""
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())


def _has_axes(path: Path) -> bool:
    """Whether the opset has QuantizeLinear with an axis."""
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(opsets, default=0) >= _PER_CHANNEL_OPSET


def _is_quantized(path: Path) -> bool:
    import onnx

    nodes = onnx.load_model(path, load_external_data=False).graph.node
    return any("Quantize" in node.op_type or node.op_type.endswith("Integer") for node in nodes)


def _count(rows: Tensors) -> int:
    return min(len(next(iter(rows.values()))), _CALIBRATION_ROWS)


def _calibration(rows: Tensors) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class _Rows(CalibrationDataReader):  # type: ignore[misc]  # untyped library
        """Every sample row by itself, so that models with a fixed batch of one calibrate too."""

        def __init__(self) -> None:
            self._feeds = _single_rows(rows)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._feeds, None)

    return _Rows()


def _single_rows(rows: Tensors) -> Iterator[dict[str, Array]]:
    for at in range(_count(rows)):
        yield {name: _as_text(array[at : at + 1]) for name, array in rows.items()}


def _as_text(array: Array) -> Array:
    return np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype == object else array


def optimized(source: Path, folder: Path) -> tuple[Path, str]:
    """ONNX Runtime's basic and extended optimisations, saved: no session repeats them.

    The last level, which lays tensors out for the machine at hand, is left to the server. Extended ones use operators
    of the domain com.microsoft, which every build of ONNX Runtime has, NVIDIA's included.
    https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
    """
    import onnxruntime

    target, taken = folder / "model.onnx", _whole(source, folder)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    if _weight(source) > _EXTERNAL_ABOVE:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "model.onnx.data")
    with refusing("ONNX Runtime does not optimise the model", next_step="leave --optimize out"):
        onnxruntime.InferenceSession(taken, options, providers=["CPUExecutionProvider"])
    if taken != source:
        taken.unlink()
    before, after = _tidied(source), _tidied(target, write=True)
    return target, f"graph optimised by ONNX Runtime {onnxruntime.__version__}: {before} → {after} nodes"


def _whole(source: Path, folder: Path) -> Path:
    """The model in one file, if one can hold it: ONNX Runtime saves references to weights that it does not copy."""
    import onnx

    if len(list(source.parent.iterdir())) == 1 or _weight(source) > _EXTERNAL_ABOVE:
        return source
    whole = folder / "whole.onnx"
    onnx.save_model(onnx.load_model(source), whole)
    return whole


def _weight(source: Path) -> int:
    return sum(entry.stat().st_size for entry in source.parent.rglob("*") if entry.is_file())


def _tidied(path: Path, *, write: bool = False) -> int:
    """How many nodes the graph has; on ``write`` its unused domains go, which an older release may not know."""
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    used = {"", *(node.domain for node in model.graph.node), *(function.domain for function in model.functions)}
    kept = [entry for entry in model.opset_import if entry.domain in used | {"ai.onnx"}]
    if write and len(kept) < len(model.opset_import):
        entries = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in kept]
        del model.opset_import[:]
        model.opset_import.extend(entries)
        path.write_bytes(model.SerializeToString())
    return len(model.graph.node)


def _save(model: Any, folder: Path) -> Path:
    import onnx

    target = folder / "model.onnx"
    wide = model.ByteSize() > _EXTERNAL_ABOVE
    onnx.save_model(model, target, save_as_external_data=wide, location="model.onnx.data" if wide else None)
    return target
