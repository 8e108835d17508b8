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


def bring_in(source, folder, *, sample=None, backend=None, signature=None):
    folder.mkdir(exist_ok=True)
    request = ImportRequest(
        source=str(source), backend=backend, signature=signature, max_opset=21, max_ir_version=10, trusted_source=True
    )
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
    assert "--signature predict" in error.next_step


def test_a_signature_is_chosen_by_name(tmp_path):
    source = write_saved_model(tmp_path, signature="predict")
    imported = bring_in(source, tmp_path / "in", signature="predict", backend="tensorflow")
    assert imported.parameters == {"TF_SIGNATURE_DEF": "predict"}
    assert bring_in(source, tmp_path / "onnx", signature="predict").parameters == {}


def test_a_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"not a protobuf")
    assert "does not load as a SavedModel" in refusal(tmp_path / "saved", tmp_path / "in").fact


def test_what_onnx_cannot_express_stays_a_saved_model_and_says_why(tmp_path):
    imported = bring_in(write_text_saved_model(tmp_path), tmp_path / "in")
    assert imported.backend == "tensorflow"
    assert imported.fallback_reason == "ONNX cannot express all of the model: it has no operator for StringLength"
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["model.savedmodel"]


def test_what_onnx_cannot_express_is_refused_where_onnx_was_asked_for(tmp_path):
    error = refusal(write_text_saved_model(tmp_path), tmp_path / "in", backend="onnxruntime")
    assert error.fact == "ONNX cannot express all of the model"
    assert error.next_step == "keep it a SavedModel: --backend tensorflow"
    assert list((tmp_path / "in").iterdir()) == []


def save_function(folder, function, *, module=None, **specs):
    module = module or tf.Module()
    module.serve = tf.function(function)
    concrete = module.serve.get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": concrete})
    return folder


def test_a_table_stays_where_its_contents_are(tmp_path):
    module = tf.Module()
    pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
    module.table = tf.lookup.StaticHashTable(pairs, default_value=-1)
    keys = tf.TensorSpec([None], tf.string, name="key")
    source = save_function(tmp_path / "saved", lambda key: {"value": module.table.lookup(key)}, module=module, key=keys)
    rows = RawSample(origin="rows", array=np.array([b"b", b"?"], dtype=object))
    imported = bring_in(source, tmp_path / "in", sample=rows)
    assert imported.backend == "tensorflow"
    assert imported.fallback_reason.startswith("it looks values up in a table: LookupTableFindV2")
    assert imported.reference["value"].tolist() == [2, -1]


def test_rows_that_depend_on_one_another_are_not_batched(tmp_path):
    rows = tf.TensorSpec([None, 3], tf.float32, name="x")
    source = save_function(tmp_path / "saved", lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, x=rows)
    imported = bring_in(source, tmp_path / "in")
    assert imported.backend == "onnxruntime"
    assert not imported.signature.can_batch
    assert imported.notes[0].startswith("batching is off: a row's answer depends on the rows beside it")


def test_constants_that_a_function_captured_are_in_the_graph(tmp_path):
    rows = np.random.default_rng(0).normal(5, 3, (20, 3)).astype(np.float32)
    layer = keras.layers.Normalization()
    layer.adapt(rows)
    saved_keras(tmp_path / "model.keras", layer, keras.layers.Dense(2, activation="gelu"))
    imported = bring_in(tmp_path / "model.keras", tmp_path / "in", sample=RawSample(origin="rows", array=rows))
    assert (imported.backend, imported.fallback_reason) == ("onnxruntime", "")
    np.testing.assert_allclose(
        run_artifact(imported, imported.inputs)["output_0"], imported.reference["output_0"], atol=1e-5
    )


def write_tagged(folder, *tags):
    old = tf.compat.v1
    builder = old.saved_model.Builder(str(folder))
    for place, each in enumerate(tags):
        with tf.Graph().as_default(), old.Session() as session:
            x = old.placeholder(tf.float32, [None, 3], name="x")
            w = old.get_variable("w", initializer=np.ones((3, 2), dtype=np.float32))
            signature = old.saved_model.predict_signature_def({"x": x}, {"y": old.matmul(x, w)})
            session.run(old.global_variables_initializer())
            add = builder.add_meta_graph_and_variables if place == 0 else builder.add_meta_graph
            add(*([session] if place == 0 else []), list(each), signature_def_map={"serving_default": signature})
    builder.save()
    return folder


def test_of_several_graphs_of_tensorflow_1_the_one_to_serve_is_taken(tmp_path):
    source = write_tagged(tmp_path / "saved", ["train"], ["serve"])
    imported = bring_in(source, tmp_path / "in")
    np.testing.assert_allclose(imported.reference["y"][:, 0], imported.inputs["x"].sum(axis=1), rtol=1e-5)


def test_a_tag_of_its_own_is_told_to_the_backend(tmp_path):
    source = write_tagged(tmp_path / "saved", ["production"])
    assert bring_in(source, tmp_path / "in", backend="tensorflow").parameters == {"TF_GRAPH_TAG": "production"}


def test_graphs_of_several_tags_are_refused_with_their_tags(tmp_path):
    error = refusal(write_tagged(tmp_path / "saved", ["serve", "gpu"], ["train"]), tmp_path / "in")
    assert error.cause == "its graphs are tagged gpu and serve; train"


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


@pytest.mark.parametrize("shape", [[None], []])
def test_a_single_string_is_an_answer(tmp_path, shape):
    texts = tf.TensorSpec(shape, tf.string, name="text")
    source = save_function(tmp_path / "saved", lambda text: {"all": tf.strings.reduce_join(text)}, text=texts)
    rows = RawSample(origin="rows", array=np.array([b"a", b"", b"b"] if shape else b"ab", dtype=object))
    imported = bring_in(source, tmp_path / "in", sample=rows)
    assert imported.reference["all"].tolist() == b"ab"
    assert imported.signature.output("all").shape == ()


def test_a_convolution_in_groups_is_converted(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 4), name="pixels"), keras.layers.Conv2D(8, 3, groups=4)])
    model.save(tmp_path / "model.keras")
    imported = bring_in(tmp_path / "model.keras", tmp_path / "in")
    assert (imported.backend, imported.fallback_reason) == ("onnxruntime", "")


def _drawing(x):
    return {"y": x + tf.random.uniform(tf.shape(x))}


def test_a_model_that_draws_random_numbers_is_refused(tmp_path):
    rows = tf.TensorSpec([None, 3], tf.float32, name="x")
    error = refusal(save_function(tmp_path / "saved", _drawing, x=rows), tmp_path / "in")
    assert error.fact.startswith("the model answers the same rows differently each time: output 'y'")


def test_an_answer_of_rows_of_different_lengths_is_refused(tmp_path):
    rows = tf.TensorSpec([None, 3], tf.float32, name="x")
    source = save_function(tmp_path / "saved", lambda x: {"y": tf.RaggedTensor.from_tensor(x)}, x=rows)
    error = refusal(source, tmp_path / "in")
    assert (error.fact, error.next_step) == (
        "output 'y' is a RaggedTensor",
        "pad it inside the model: ragged.to_tensor()",
    )


def test_a_signature_without_an_answer_is_refused(tmp_path):
    rows = tf.TensorSpec([None, 3], tf.float32, name="x")
    error = refusal(save_function(tmp_path / "saved", lambda x: {}, x=rows), tmp_path / "in")
    assert error.fact == "the signature 'serving_default' gives no output"
