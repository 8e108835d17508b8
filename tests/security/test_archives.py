# SPDX-License-Identifier: Apache-2.0
"""Archives, Keras configurations, HDF5 links, exported programs and SavedModels that do more than hold a model."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.guards.admission import admit
from repo_tool.importers.guards.archives import check_archive
from repo_tool.importers.guards.exported_programs import code_in_program
from repo_tool.importers.guards.keras import check_keras


def archive(path, members, *, comment=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for member, data in members:
            written.writestr(member, data)
        written.comment = comment
    return path


def member(name, **values):
    info = zipfile.ZipInfo(name)
    for field, value in values.items():
        setattr(info, field, value)
    return info


ARCHIVES = {
    "parent": [("../evil", b"x")],
    "parent-inside": [("a/../../evil", b"x")],
    "absolute": [("/etc/evil", b"x")],
    "home": [("~/.ssh/evil", b"x")],
    "drive": [("C:evil", b"x")],
    "backslash": [("..\\evil", b"x")],
    "control-character": [("a\x1b[2Jb", b"x")],
    "link": [(member("link", external_attr=0o120777 << 16), b"/etc/passwd")],
    "device": [(member("device", external_attr=0o060666 << 16), b"")],
    "two-of-a-name": [("a", b"1"), ("A", b"2")],
    "rare-compression": [(member("a", compress_type=zipfile.ZIP_LZMA), b"x" * 99)],
    "bomb": [(member(str(place), compress_type=zipfile.ZIP_DEFLATED), bytes(2**25)) for place in range(9)],
    "many-members": [(str(place), b"") for place in range(100_001)],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_malicious_archive_is_refused(name, tmp_path, canary):
    path = archive(tmp_path / "model.skops", ARCHIVES[name])
    with pytest.raises(SourceError) as refused:
        check_archive(path)
    assert refused.value.cause
    assert refused.value.next_step


def test_an_archive_behind_an_archive_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not one that a framework writes"):
        check_archive(archive(tmp_path / "model.skops", [("a", b"x")], comment=b"another archive"))


def test_members_that_share_bytes_are_refused(tmp_path):
    path = archive(tmp_path / "model.skops", [("aa", b"x" * 50), ("bb", b"y" * 50)])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = b"\0\0\0\0"  # where the second member begins
    path.write_bytes(data)
    with pytest.raises(SourceError, match="not one that a framework writes"):
        check_archive(path)


# --- Keras -----------------------------------------------------------------------------------------------------------


def layer(kind, module="keras.layers", registered=None, **config):
    return {"module": module, "class_name": kind, "config": {"name": "layer", **config}, "registered_name": registered}


def sequential(*layers):
    return layer("Sequential", "keras", layers=list(layers))


def keras_archive(path, config, *more):
    return archive(path, [("config.json", json.dumps(config)), ("metadata.json", "{}"), *more])


KERAS = {
    "lambda": sequential(layer("Lambda", function="x")),
    "lambda-by-its-registered-name": sequential(layer("Dense", registered="keras>Lambda")),
    "lambda-value": sequential(layer("Dense", activation={"class_name": "__lambda__", "config": {"value": "4wEA"}})),
    "lambda-in-a-wrapper": sequential(layer("TimeDistributed", layer=layer("Lambda"))),
    "lambda-in-a-model": sequential(layer("Functional", "keras.src.models.functional", layers=[layer("Lambda")])),
    "another-model": sequential(layer("TFSMLayer", filepath="model")),
    "pickled-torch": sequential(layer("TorchModuleWrapper", "keras.src.utils.torch_utils")),
    "jax": sequential(layer("JaxLayer")),
    "flax": sequential(layer("FlaxLayer")),
    "module-os": sequential(layer("system", "os")),
    "module-subprocess": sequential(layer("Popen", "subprocess")),
    "module-builtins-class": sequential(layer("eval", "builtins")),
    "module-keraslike": sequential(layer("Dense", "keras_evil.layers")),
    "module-number": sequential(layer("Dense", 7)),
    "callback-that-writes": sequential(layer("CSVLogger", "keras.callbacks", filename="log.csv")),
    "wrapper-of-an-estimator": sequential(layer("SKLearnClassifier", "keras.wrappers")),
    "visualization": sequential(layer("plot_image_gallery", "keras.src.visualization")),
    "module-with-a-line-end": sequential(layer("Dense", "keras.layers\n")),
    "function-of-utils": sequential(layer("function", "keras.utils")),
    "function-get-file": sequential(layer("get_file", "keras.utils")),
    "function-of-os": sequential({"module": "os", "class_name": "function", "config": "system"}),
    "function-of-saving": sequential(layer("load_model", "keras.src.saving.saving_api")),
    "function-of-backend": sequential(layer("eval", "keras.src.backend")),
    "type-specification": sequential({"class_name": "__typespec__", "module": "os", "spec_name": "system"}),
    "registered": sequential(layer("Own", None, "my_package>Own")),
    "class-without-a-name": sequential(layer(["Dense"])),
    "vocabulary-of-a-file": sequential(layer("StringLookup", vocabulary="words.txt")),
    "vocabulary-absolute": sequential(layer("StringLookup", vocabulary="/etc/passwd")),
    "vocabulary-remote": sequential(layer("TextVectorization", vocabulary="gs://bucket/words")),
    "path-absolute": sequential(layer("Dense", anything="/etc/passwd")),
    "path-parent": sequential(layer("Dense", anything="../../secret")),
    "path-home": sequential(layer("Dense", anything="~/.ssh/id_rsa")),
    "path-url": sequential(layer("Dense", anything="http://127.0.0.1/x")),
    "path-share": sequential(layer("Dense", anything="\\\\server\\share")),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_malicious_keras_configuration_is_refused(name, tmp_path, canary):
    with pytest.raises(SourceError) as refused:
        check_keras(keras_archive(tmp_path / "model.keras", KERAS[name]))
    assert "'layer'" in refused.value.fact or "its configuration" in refused.value.fact
    assert refused.value.cause


@pytest.mark.parametrize(("module", "kind"), [("convnext", "LayerScale"), ("inception_resnet_v2", "CustomScaleLayer")])
def test_layers_of_keras_own_applications_are_accepted_and_their_functions_are_not(module, kind, tmp_path):
    place = f"keras.src.applications.{module}"
    check_keras(keras_archive(tmp_path / "good.keras", sequential(layer(kind, place))))
    with pytest.raises(SourceError, match="is not one of Keras' layers"):
        check_keras(keras_archive(tmp_path / "bad.keras", sequential(layer("preprocess_input", place))))


def test_a_configuration_without_end_is_refused(tmp_path):
    config = layer("Dense")
    for _ in range(300):
        config = sequential(config)
    with pytest.raises(SourceError):
        check_keras(keras_archive(tmp_path / "model.keras", config))


@pytest.mark.parametrize("name", ["model.weights.npz", "model.weights.json", "code.py", "assets"])
def test_files_that_keras_does_not_write_are_refused(name, tmp_path):
    with pytest.raises(SourceError, match="because of the file"):
        check_keras(keras_archive(tmp_path / "model.keras", sequential(), (name, b"x")))


def _soft(file):
    import h5py

    file["layers/a"] = h5py.SoftLink("/secret")


def _external(file):
    import h5py

    file["layers/a"] = h5py.ExternalLink("/etc/passwd", "/")


def _virtual(file):
    import h5py

    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "data", shape=(4,))
    file.create_virtual_dataset("a", layout)


def _outside(file):
    file.create_dataset("a", shape=(4,), dtype="u1", external=[("/etc/passwd", 0, 4)])


def _huge(file):
    file.create_dataset("a", shape=(2**40,), dtype="f4", chunks=(1024,))


def _plugin(file):
    import h5py

    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((4,))
    layout.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4,)), layout)


HDF5 = {
    "soft": _soft,
    "external": _external,
    "virtual": _virtual,
    "outside": _outside,
    "huge": _huge,
    "plugin": _plugin,
}


def weights(write):
    import h5py

    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        write(file)
    return "model.weights.h5", data.getvalue()


@pytest.mark.parametrize("name", HDF5)
def test_weights_that_lie_elsewhere_are_refused(name, tmp_path):
    with pytest.raises(SourceError, match=r"because of (the|its) weights"):
        check_keras(keras_archive(tmp_path / "model.keras", sequential(), weights(HDF5[name])))


def test_weights_that_hold_themselves_end(tmp_path):
    def cycle(file):
        file["a/data"] = np.zeros(3)
        file["a/again"] = file["a"]

    check_keras(keras_archive(tmp_path / "model.keras", sequential(layer("Dense", units=3)), weights(cycle)))


# --- exported programs -----------------------------------------------------------------------------------------------


def program(path, graph=None, *more):
    members = [("m/archive_format", b"pt2"), ("m/models/model.json", json.dumps(graph or {})), *more]
    return archive(path, members)


PROGRAMS = {
    "operator-of-os": {"target": "torch.os.system"},
    "operator-load": {"target": "torch.load"},
    "operator-hub": {"target": "torch.hub.load"},
    "operator-from-file": {"target": "torch.ops.aten.from_file.default"},
    "operator-load-library": {"target": "torch.ops.load_library"},
    "operator-methodcaller": {"target": "_operator.methodcaller"},
    "operator-call": {"target": "_operator.call"},
    "operator-of-math": {"target": "math.__loader__.load_module"},
    "operator-of-others": {"as_operator": "torch.serialization.os.system"},
    "operator-extension": {"target": "#evil:system"},
    "size-import": {"expr_str": "__import__('os').system('true')"},
    "size-attribute": {"expr_str": "Symbol('x').__class__"},
    "size-sympify": {"expr_str": "sympify('x')"},
    "size-text": {"expr_str": "Max('__import__(\"os\")')"},
    "size-lambda": {"expr_str": "(lambda: 1)()"},
    "size-comprehension": {"expr_str": "[x for x in ()]"},
    "size-call-of-a-call": {"expr_str": "Symbol('x')(1)"},
    "size-number": {"expr_str": 7},
    "size-tower": {"expr_str": "Pow(10, Pow(10, 10))"},
    "size-tower-of-stars": {"expr_str": "9**9**9**9"},
    "size-powers-of-powers": {"expr_str": "Pow(Pow(Pow(Symbol('s0'), 64), 64), 64)"},
    "size-shift": {"expr_str": "LShift(1, 10**12)"},
    "guard-call": {"guards_code": ["__import__('os').system('true')"]},
    "guard-attribute": {"guards_code": ["L['x'].__class__.__base__ == 1"]},
    "guard-lambda": {"guards_code": ["(lambda: 1)() == 1"]},
    "tree-enum": {"in_spec": '[1, {"context": "{\\"__enum__\\": true, \\"fqn\\": \\"antigravity:x\\"}"}]'},
    "tree-defaultdict": {"out_spec": '[1, {"type": "collections.defaultdict", "context": "os"}]'},
    "object": {"as_custom_obj": {"name": "x", "class_fqn": "evil"}},
    "pickled-tensors": {"config": {"w": {"path_name": "weight_0", "use_pickle": True}}},
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_is_more_than_a_graph_is_code(name, tmp_path, canary):
    path = program(tmp_path / "model.pt2", {"graph": [PROGRAMS[name]]})
    assert code_in_program(path)
    request = ImportRequest(source=str(path), max_opset=21, max_ir_version=10)
    with pytest.raises(SourceError, match="is code, and loading it runs that code") as refused:
        admit(request)
    assert refused.value.next_step.endswith("pass --trust-source")


@pytest.mark.parametrize(
    "name", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/m/a.so"]
)
def test_a_program_with_objects_or_machine_code_is_code(name, tmp_path):
    assert code_in_program(program(tmp_path / "model.pt2", {}, (f"m/{name}", b"x")))


def test_a_program_whose_sample_inputs_run_code_is_code(tmp_path, canary):
    pickled = (
        b"\x80\x02cposix\nsystem\nX" + len(canary.command).to_bytes(4, "little") + canary.command.encode() + b"\x85R."
    )
    inner = archive(tmp_path / "inner", [("archive/data.pkl", pickled), ("archive/version", b"3")]).read_bytes()
    for place in ("sample_inputs/model.pt", "weights/model.pt", "constants/model.pt", "weights/weight_0"):
        assert "pickle" in code_in_program(program(tmp_path / "model.pt2", {}, (f"m/data/{place}", inner)))


def test_torchscript_asks_and_is_told_when_trusted(tmp_path):
    path = archive(tmp_path / "model.pt", [("m/code/__torch__.py", b""), ("m/data.pkl", b".")])
    request = ImportRequest(source=str(path), max_opset=21, max_ir_version=10)
    with pytest.raises(SourceError, match="is code"):
        admit(request)
    trusted = ImportRequest(source=str(path), max_opset=21, max_ir_version=10, trusted_source=True)
    assert "TorchScript is a program" in admit(trusted)[0]


def test_a_program_of_a_real_module_is_data(tmp_path):
    torch = pytest.importorskip("torch")
    free = {"input": {0: torch.export.Dim.AUTO}}
    exported = torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),), dynamic_shapes=free)
    torch.export.save(exported, tmp_path / "model.pt2")
    assert code_in_program(tmp_path / "model.pt2") == ""


# --- SavedModels -----------------------------------------------------------------------------------------------------


def saved_model(folder, *operators, asset=""):
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    graph = found.meta_graphs.add()
    for place, operator in enumerate(operators):
        graph.graph_def.node.add(name=f"node{place}", op=operator)
        graph.graph_def.library.function.add().node_def.add(name="inner", op=operator)
    if asset:
        graph.asset_file_def.add(filename=asset)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(found.SerializeToString())
    return ImportRequest(source=str(folder), max_opset=21, max_ir_version=10)


OPERATORS = (
    "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "TextLineDataset", "SaveV2", "RestoreV2",
    "ImmutableConst", "DecodeProtoV2", "EncodeProto", "GenerateVocabRemapping", "LoadAndRemapMatrix", "LMDBReader",
    "WholeFileReaderV2", "InitializeTableFromTextFileV2", "PrintV2", "SomebodysOwn", "DebugIdentityV2", "RemoteCall",
)  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_saved_model_that_reaches_out_is_code(operator, tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(SourceError, match="is code") as refused:
        admit(saved_model(tmp_path / "saved", "MatMul", operator))
    assert operator in refused.value.cause


@pytest.mark.parametrize("asset", ["/etc/passwd", "../secret"])
def test_a_saved_model_with_assets_elsewhere_is_code(asset, tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(SourceError, match="is code"):
        admit(saved_model(tmp_path / "saved", "MatMul", asset=asset))


def test_a_saved_model_with_a_link_to_outside_is_refused(tmp_path):
    pytest.importorskip("tensorflow")
    request = saved_model(tmp_path / "saved", "MatMul")
    (tmp_path / "saved/assets").symlink_to("/etc")
    with pytest.raises(SourceError, match="a link to outside of itself"):
        admit(request)


def test_a_saved_model_that_computes_is_data(tmp_path):
    pytest.importorskip("tensorflow")
    assert admit(saved_model(tmp_path / "saved", "MatMul", "VarHandleOp", "ReadVariableOp", "HashTableV2")) == ()


def saved_module(folder, *, writing):
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable([1.0, 2.0, 3.0])
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="values")])
        def serve(self, values):
            if writing:
                place = str(folder / "written")
                tf.raw_ops.SaveV2(prefix=place, tensor_names=["a"], shape_and_slices=[""], tensors=[values])
            return {"scaled": values * self.scale, "found": self.table.lookup(tf.constant(["a"]))}

    module = Module()
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    return ImportRequest(source=str(folder / "saved"), max_opset=21, max_ir_version=10)


def test_a_saved_model_with_variables_and_tables_is_data(tmp_path):
    pytest.importorskip("tensorflow")
    assert admit(saved_module(tmp_path, writing=False)) == ()


def test_a_saved_model_that_writes_as_its_saver_does_is_code(tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(SourceError, match="is code") as refused:
        admit(saved_module(tmp_path, writing=True))
    assert "SaveV2" in refused.value.cause


# --- what is benign --------------------------------------------------------------------------------------------------


def test_keras_models_of_every_kind_of_layer_are_let_in(tmp_path):
    keras = pytest.importorskip("keras")
    layers, path = keras.layers, Path(tmp_path / "model.keras")
    text = layers.TextVectorization(vocabulary=["/a", "http://b"], output_mode="int")
    for stack in (
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten()],
        [keras.Input((5, 3)), layers.Bidirectional(layers.LSTM(2)), layers.Dense(2, kernel_regularizer="l2")],
        [keras.Input((1,), dtype="string"), text, layers.Embedding(9, 2)],
        [keras.Input((4,)), layers.Normalization(mean=0.0, variance=1.0), layers.Dense(1, activation=keras.ops.relu)],
        [keras.Input((5, 3)), layers.TimeDistributed(layers.Dense(2)), layers.GlobalAveragePooling1D()],
    ):
        model = keras.Sequential(stack)
        model.compile("adam", "mse")
        model.save(path)
        check_keras(path)
