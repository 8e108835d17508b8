# SPDX-License-Identifier: Apache-2.0
"""What the worker process found out reaches the caller whole."""

from dataclasses import replace

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.importers.base import ImportedModel
from repo_tool.importers.exchange import read_answer, write_imported
from repo_tool.signature import ModelSignature, TensorSpec


def test_an_imported_model_crosses_whole(tmp_path):
    spec = TensorSpec(name="x", datatype=DataType.FP16, shape=(-1, 2))
    rows = {"x": np.ones((3, 2), np.float16)}
    imported = ImportedModel(
        framework="pytorch",
        backend="onnxruntime",
        signature=ModelSignature(inputs=(spec,), outputs=(replace(spec, name="y"),), batches=False),
        artifact=tmp_path / "model.onnx",
        inputs=rows,
        inputs_were_generated=True,
        reference={"y": rows["x"]},
        labels=("no", "yes"),
        tool_versions={"torch": "2"},
        notes=("a note",),
        fallback_reason="a reason",
        parameters={"columns": "{}"},
        trusted=("package.Class",),
        computes_in=DataType.FP16,
        own_backend="pytorch",
        unproven="no such backend here",
    )
    write_imported(tmp_path, imported)
    found = read_answer(tmp_path)
    np.testing.assert_array_equal(found.inputs["x"], rows["x"])
    np.testing.assert_array_equal(found.reference["y"], rows["x"])
    assert replace(found, inputs={}, reference={}) == replace(imported, inputs={}, reference={})
