# SPDX-License-Identifier: Apache-2.0
"""TensorFlow sources: what is refused and how; and details of what is brought in."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.tensorflow import TensorflowImporter
from repo_tool.samples import RawSample
from support.artifacts import run_artifact
from support.importer_sources import write_saved_model, write_text_saved_model


def bring_in(source, folder, *, sample=None, backend=None):
    folder.mkdir(exist_ok=True)
    request = ImportRequest(source=str(source), backend=backend, max_opset=21, max_ir_version=10)
    return TensorflowImporter().bring_in(request, sample, folder)


def refusal(source, folder, **options):
    with pytest.raises(SourceError) as refused:
        bring_in(source, folder, **options)
    return refused.value


def saved_keras(path, *layers):
    model = keras.Sequential([keras.Input((3,), name="values"), *layers])
    model.save(path)
    return model


def test_a_keras_archive_cut_short_is_refused(tmp_path):
    saved_keras(tmp_path / "model.keras", keras.layers.Dense(2))
    (tmp_path / "model.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:3000])
    error = refusal(tmp_path / "model.keras", tmp_path / "in")
    assert "neither a Keras archive nor a SavedModel folder" in error.fact


def test_an_hdf5_file_is_refused_with_the_way_to_save_it_anew(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    error = refusal(tmp_path / "model.h5", tmp_path / "in")
    assert error.fact == "'model.h5' is an HDF5 file"
    assert "model.save('model.keras')" in error.next_step


def test_a_lambda_layer_is_not_run(tmp_path):
    saved_keras(tmp_path / "model.keras", keras.layers.Lambda(lambda values: values * 2))
    error = refusal(tmp_path / "model.keras", tmp_path / "in")
    assert "does not load in Keras" in error.fact
    assert "Lambda" in error.cause


def test_a_saved_model_without_the_serving_signature_is_refused_with_those_it_has(tmp_path):
    source = write_saved_model(tmp_path, signature="predict")
    error = refusal(source, tmp_path / "in")
    assert error.fact == "the SavedModel has no signature 'serving_default'"
    assert error.cause == "it has predict"


def test_a_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"not a protobuf")
    assert "does not load as a SavedModel" in refusal(tmp_path / "saved", tmp_path / "in").fact


def test_what_onnx_cannot_express_is_refused_with_the_backend_that_can(tmp_path):
    error = refusal(write_text_saved_model(tmp_path), tmp_path / "in")
    assert error.fact == "ONNX cannot express all of the model"
    assert error.next_step == "keep it a SavedModel: --backend tensorflow"
    assert list((tmp_path / "in").glob("tmp*")) == []


def test_another_backend_is_refused(tmp_path):
    saved_keras(tmp_path / "model.keras", keras.layers.Dense(2))
    assert (
        "not served by the backend 'pytorch'"
        in refusal(tmp_path / "model.keras", tmp_path / "in", backend="pytorch").fact
    )


def test_the_reference_is_the_keras_model_s_own_answer(tmp_path):
    model = saved_keras(tmp_path / "model.keras", keras.layers.Dropout(0.9), keras.layers.Dense(2))
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    imported = bring_in(tmp_path / "model.keras", tmp_path / "in", sample=RawSample(origin="rows", array=rows))
    np.testing.assert_array_equal(imported.reference["output_0"], model(rows, training=False).numpy())


def test_a_fixed_first_dimension_is_told_by_the_signature(tmp_path):
    class Fixed(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([2, 3], tf.float32, name="values")])
        def serve(self, values):
            return {"sums": tf.reduce_sum(values, axis=1)}

    module = Fixed()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    imported = bring_in(tmp_path / "saved", tmp_path / "in")
    assert imported.signature.input("values").shape == (2, 3)
    assert imported.signature.output("sums").shape == (2,)
    answers = run_artifact(imported, imported.inputs)
    np.testing.assert_allclose(answers["sums"], imported.reference["sums"], rtol=1e-6)
