# SPDX-License-Identifier: Apache-2.0
"""The models that ONNX itself tests a runtime with: every operator, and graphs that PyTorch once exported.

The rows are those of each test's first data set. Node tests lie nowhere: the onnx package makes them, always the same.
"""

__all__ = ["cases"]

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from support.zoo import ZooCase, ZooSource

FAMILY = "ONNX"
_KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


def cases() -> Iterable[ZooCase]:
    """More than a thousand; refused ones among them, as sequences and optional values."""
    for kind in _KINDS:
        build = _build_made if kind == "node" else _build_stored
        for name in sorted(_tests(kind)):
            yield ZooCase(family=FAMILY, name=f"{kind}/{name.removeprefix('test_')}", build=partial(build, kind, name))


@cache
def _tests(kind: str) -> dict[str, Any]:
    from onnx.backend.test.loader import load_model_tests

    with np.errstate(all="ignore"):  # the tests are made of edges, and numpy warns of each
        return {test.name: test for test in load_model_tests(kind=kind)}


def _build_made(kind: str, name: str, folder: Path) -> ZooSource:
    import onnx

    test = _tests(kind)[name]
    onnx.save_model(test.model, folder / "source.onnx")
    inputs = [
        onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for value in test.data_sets[0][0]
    ]
    return _with_sample(test.model, inputs, folder)


def _build_stored(kind: str, name: str, folder: Path) -> ZooSource:
    import onnx

    stored = Path(_tests(kind)[name].model_dir)
    model = onnx.load_model(stored / "model.onnx")
    onnx.save_model(model, folder / "source.onnx")
    paths = sorted((stored / "test_data_set_0").glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    read: dict[str, Callable[[bytes], Any]] = {
        "tensor_type": lambda data: onnx.numpy_helper.to_array(onnx.load_tensor_from_string(data)),
        "sequence_type": lambda data: [],
        "optional_type": lambda data: None,
    }
    kinds = [value.type.WhichOneof("value") for value in model.graph.input]
    inputs = [read[kind](path.read_bytes()) for kind, path in zip(kinds, paths, strict=False)]
    return _with_sample(model, inputs, folder)


def _with_sample(model: Any, inputs: list[Any], folder: Path) -> ZooSource:
    """Without a sample, where an input is no tensor: the model is refused before it is missed."""
    arrays = {value.name: array for value, array in zip(model.graph.input, inputs, strict=False)}
    plain = arrays and all(isinstance(array, np.ndarray | np.generic) for array in arrays.values())
    if plain:
        np.savez(folder / "sample.npz", **{name: _storable(np.asarray(array)) for name, array in arrays.items()})
    return ZooSource(source=str(folder / "source.onnx"), sample=folder / "sample.npz" if plain else None)


def _storable(array: Any) -> Any:
    """Text as numpy's own, and what numpy has no type for as float32 or int8."""
    if array.dtype == object:
        return np.char.encode(array.astype(str), "utf-8")
    if array.dtype.kind in "biufSU" and array.dtype.isbuiltin == 1:
        return array
    return array.astype(np.int8 if "int" in array.dtype.name else np.float32)
