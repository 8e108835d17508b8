# SPDX-License-Identifier: Apache-2.0
"""Files and folders of every framework that lie, lead elsewhere or would run code; each with how it is added."""

__all__ = ["malicious_sources"]

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np

CRASHING = ("boosters: deep.json", "boosters: garbage.cbm")  # native parsers of XGBoost and CatBoost end the worker
FACTORY = """
import torch

def linear():
    return torch.nn.Linear(2, 2)
"""
BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "vocab_size": 20,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}


def malicious_sources(folder, command):
    """Write every source below ``folder``; the jobs of ``support.worker_batch`` by name."""
    jobs = {}
    for kind in (_weights, _hugging_face, _onnx, _boosters, _archives, _skops, _odd):
        place = folder / kind.__name__.strip("_")
        place.mkdir()
        jobs |= {f"{place.name}: {name}": job for name, job in kind(place, command).items()}
    return dict(sorted(jobs.items(), key=lambda job: job[0] in CRASHING))  # those cost a worker each


class _Call:
    """A pickle that runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def _zipped(path, members, *, prefix=b""):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    path.write_bytes(prefix + written.getvalue())
    return {"source": str(path)}


def _tensors(header, data=b"\0" * 64):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _safetensors():
    def one(**values):
        entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **values}
        return {"weight": entry, "bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}}

    return {
        "header-of-exabytes": struct.pack("<Q", 2**63) + b"{}",
        "header-beyond-the-file": struct.pack("<Q", 10**6) + b"{}",
        "header-of-100-mb": struct.pack("<Q", 10**8 + 1) + b"{" + b" " * 1000,
        "header-deep": _tensors(b"[" * 100_000),
        "header-no-text": _tensors(b"\xff\xfe{}"),
        "offsets-beyond-the-file": _tensors(one(data_offsets=[0, 10**12])),
        "offsets-backwards": _tensors(one(data_offsets=[16, 0])),
        "offsets-overlapping": _tensors(one(data_offsets=[8, 24])),
        "shape-overflows": _tensors(one(shape=[2**33, 2**33])),
        "shape-negative": _tensors(one(shape=[-2, -2])),
        "dtype-unknown": _tensors(one(dtype="PICKLE")),
        "hole-between-tensors": _tensors(one(), b"\0" * 400),
    }


def _weights(folder, command):
    import torch

    (folder / "small_module.py").write_text(FACTORY)
    np.save(folder / "rows.npy", np.zeros((2, 2), np.float32))
    files = {f"{name}.safetensors": data for name, data in _safetensors().items()}
    good = torch.nn.Linear(2, 2).state_dict()
    calling = pickle.dumps({"weight": _Call(command)}, 2)
    files["pickle.pth"] = calling
    files["pickle-4.pth"] = pickle.dumps({"weight": _Call(command)}, 4)
    written = io.BytesIO()
    torch.save(good, written)
    with zipfile.ZipFile(written) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    for name, data in {
        "calls": calling,
        "getattr": b"\x80\x02c__builtin__\ngetattr\nctorch\nops\nX\x04\x00\x00\x00load\x86R.",
        "dunder": b"\x80\x02ctorch\n__builtins__\n.",
        "storage-elsewhere": members[pickled].replace(b"X\x01\x00\x00\x000", b"X\x09\x00\x00\x00../secret"),
        "sizes": members[pickled].replace(b"K\x02K\x02\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
        "strides": members[pickled].replace(b"K\x02K\x01\x86", b"J\xff\xff\xff\x7fK\x01\x86"),
    }.items():
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, data if member == pickled else content)
        files[f"archive-{name}.pth"] = written.getvalue()
    jobs = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        asked = {"source": "small_module:linear", "weights": str(folder / name), "sample": str(folder / "rows.npy")}
        jobs[name] = asked
    return jobs


def _hugging_face(folder, command):
    weights = _tensors({}, b"")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "../../secret.safetensors"}}
    secret = {"weight_map": {"embeddings.word_embeddings.weight": "/etc/passwd"}}
    code = {"auto_map": {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}}
    cases = {
        "code": {"config.json": {**BERT, **code}, "modeling.py": f"import os\nos.system({command!r})"},
        "code-of-the-tokenizer": {
            "config.json": BERT,
            "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["a.B"]}},
        },
        "pickled": {"config.json": BERT, "pytorch_model.bin": pickle.dumps(_Call(command), 2)},
        "pickled-pieces": {"config.json": BERT, "pytorch_model.bin.index.json": index},
        "pieces-elsewhere": {"config.json": BERT, "model.safetensors.index.json": index},
        "pieces-absolute": {"config.json": BERT, "model.safetensors.index.json": secret},
        "pieces-below": {
            "config.json": BERT,
            "model.safetensors.index.json": {"weight_map": {"w": "a/../../../secret"}},
        },
        "pieces-damaged": {"config.json": BERT, "model.safetensors.index.json": {"weight_map": 7}},
        "adapter": {
            "config.json": BERT,
            "adapter_config.json": {"base_model_name_or_path": "evil/model", "peft_type": "LORA"},
        },
        "remote": {"config.json": {**BERT, "_name_or_path": "http://127.0.0.1:9/x"}},
        "no-type": {"config.json": {"model_type": "os.system"}, "model.safetensors": weights},
        "sizes": {"config.json": {**BERT, "hidden_size": 2**40}, "model.safetensors": weights},
        "quantised": {
            "config.json": {**BERT, "quantization_config": {"quant_method": "awq"}},
            "model.safetensors": weights,
        },
        "deep": {"config.json": b'{"model_type": "bert", "x": ' + b"[" * 100_000, "model.safetensors": weights},
        "headers": {"config.json": BERT, "model.safetensors": struct.pack("<Q", 2**62)},
    }
    jobs = {}
    for name, members in cases.items():
        (folder / name).mkdir()
        for member, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / name / member).write_bytes(content.encode() if isinstance(content, str) else data)
        jobs[name] = {"source": str(folder / name), "framework": "huggingface"}
    return jobs


def _onnx(folder, command):
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in "xy")

    def external(location, **more):
        tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)
        return tensor

    def model(nodes, *initializers, domain=""):
        graph = helper.make_graph(nodes, "g", [x], [y], list(initializers))
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    add = helper.make_node("Add", ["x", "w"], ["y"])
    constant = helper.make_node("Constant", [], ["w"], value=external("../../secret.bin"))
    branch = helper.make_graph(
        [constant, helper.make_node("Identity", ["w"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])],
    )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    choose = helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch)
    huge = TensorProto(name="w", data_type=1, dims=[2**31, 2**31])
    context = helper.make_node(
        "EPContext",
        ["x"],
        ["y"],
        domain="com.microsoft",
        embed_mode=0,
        ep_cache_context="../../secret.bin",
        source="QNN",
    )
    models = {
        "outside": model([add], external("../../secret.bin")),
        "absolute": model([add], external("/etc/passwd", length="16")),
        "in-a-constant": model([constant, add]),
        "in-a-branch": model([choose, add], yes),
        "device": model([add], external("/dev/zero", length="16")),
        "memory-address": model([add], external("*/_ORT_MEM_ADDR_/*", offset="4096", length="16")),
        "negative-offset": model([add], external("model.onnx", offset="-1", length="16")),
        "own-file": model([add], external("own-file.onnx", offset="0", length=str(10**12))),
        "sizes-without-data": model([add], huge),
        "context-elsewhere": model([context], domain="com.microsoft"),
        "own-operator": model([helper.make_node("Run", ["x"], ["y"], domain="evil")], domain="evil"),
        "python-operator": model(
            [
                helper.make_node(
                    "PyOp",
                    ["x"],
                    ["y"],
                    domain="pyopmulti_1",
                    module="os",
                    class_name="x",
                    compute="system",
                    input_types=[1],
                    output_types=[1],
                )
            ],
            domain="pyopmulti_1",
        ),
    }
    jobs = {}
    for name, made in models.items():
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString())
        jobs[name] = {"source": str(folder / f"{name}.onnx")}
    (folder / "cut.onnx").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString() + b"\x3a\xff\xff\xff\xff\x0f")
    return jobs | {"cut": {"source": str(folder / "cut.onnx")}}


def _boosters(folder, command):
    files = {
        "deep.json": b'{"learner":' * 50_000,
        "sizes.json": json.dumps(
            {"learner": {"gradient_booster": {"model": {"trees": [{"left_children": [2**31]}]}}}}
        ).encode(),
        "garbage.ubj": b"{L\x7f\xff\xff\xff\xff\xff\xff\xff",
        "garbage.cbm": b"CBM1" + b"\xff" * 100,
        "sizes.txt": b"tree\nversion=v4\nnum_class=1\nmax_feature_idx=99999999999\n\nTree=0\nnum_leaves=2147483647\n",
        "pickle.cbm": pickle.dumps(_Call(command), 2),
    }
    frameworks = {".json": "xgboost", ".ubj": "xgboost", ".cbm": "catboost", ".txt": "lightgbm"}
    jobs = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        jobs[name] = {"source": str(folder / name), "framework": frameworks[name[name.index(".") :]]}
    return jobs


def _archives(folder, command):
    lambda_layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}},
    }
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": "Sequential",
        "config": {"name": "s", "layers": [lambda_layer]},
        "build_config": {"input_shape": [None, 2]},
    }
    keras = {"config.json": json.dumps(config), "metadata.json": "{}"}
    program = {"m/archive_format": b"pt2", "m/models/model.json": json.dumps({"target": "os.system"})}
    tower = {"m/archive_format": b"pt2", "m/models/model.json": json.dumps({"expr_str": "Pow(10, Pow(10, 10))"})}
    stars = {"m/archive_format": b"pt2", "m/models/model.json": json.dumps({"expr_str": "9**9**9**9"})}
    script = {"m/code/__torch__.py": b"", "m/data.pkl": b".", "m/constants.pkl": b"."}
    return {
        "keras": _zipped(folder / "a.keras", keras),
        "keras-without-metadata": _zipped(folder / "b.keras", {"config.json": keras["config.json"]}),
        "keras-behind-other-bytes": _zipped(folder / "c.keras", keras, prefix=b"x" * 100),
        "keras-and-skops": _zipped(folder / "d.keras", keras | {"schema.json": "{}"}) | {"framework": "tensorflow"},
        "program": _zipped(folder / "a.pt2", program),
        "program-behind-other-bytes": _zipped(folder / "b.pt2", program, prefix=b"x" * 100),
        "program-and-skops": _zipped(folder / "c.pt2", program | {"schema.json": "{}"}) | {"framework": "pytorch"},
        "program-with-towers": _zipped(folder / "d.pt2", tower),
        "program-with-stars": _zipped(folder / "e.pt2", stars),
        "script": _zipped(folder / "a.pt", script),
        "script-and-skops": _zipped(folder / "b.pt", script | {"schema.json": "{}"}) | {"framework": "pytorch"},
        "script-and-program": _zipped(folder / "c.pt", script | program),
        "script-behind-other-bytes": _zipped(folder / "d.pt", script, prefix=b"x" * 100),
        "skops-outside": _zipped(folder / "a.skops", {"schema.json": "{}", "../x": b""}),
    }


def _skops(folder, command):
    def node(loader, module, name, **more):
        return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}

    text = node("JsonNode", "builtins", "str", content=json.dumps(command), is_json=True)
    arguments = node("TupleNode", "builtins", "tuple", content=[text])
    cases = {
        "object": node("ObjectNode", "os", "system", content=None),
        "type": node("TypeNode", "subprocess", "Popen", content={"__module__": "subprocess", "__class__": "Popen"}),
        "function": node("FunctionNode", "posix", "system", content={"module_path": "posix", "function": "system"}),
        "method": node("MethodNode", "builtins", "str", content={"func": "eval", "obj": text}),
        "partial": node(
            "PartialNode",
            "functools",
            "partial",
            content={
                "func": node("FunctionNode", "posix", "system", content={"module_path": "posix", "function": "system"}),
                "args": arguments,
                "kwds": None,
                "namespace": None,
            },
        ),
        "operator": node("OperatorFuncNode", "operator", "methodcaller", attrs=arguments),
        "reduce": node("ReduceNode", "posix", "system", content=None, args=arguments, __reduce__=arguments),
        "loader": node("os.system", "os", "system", content=command),
        "endless": node("CachedNode", "builtins", "str", content=None),
        "array-of-objects": node("NdArrayNode", "numpy", "ndarray", type="numpy", file="a.npy"),
    }
    written = io.BytesIO()
    np.save(written, np.array([_Call(command)], object), allow_pickle=True)
    jobs = {}
    for name, schema in cases.items():
        text = json.dumps({**schema, "protocol": 2, "_skops_version": "0.16.0"})
        jobs[name] = _zipped(folder / f"{name}.skops", {"schema.json": text, "a.npy": written.getvalue()})
    return jobs


def _odd(folder, command):
    os.mkfifo(folder / "pipe.joblib")
    os.mkfifo(folder / "pipe")
    (folder / "device.onnx").symlink_to("/dev/zero")
    (folder / "saved").mkdir()
    os.mkfifo(folder / "saved/saved_model.pb")
    (folder / "variables").mkdir()
    (folder / "variables/saved_model.pb").write_bytes(b"x")
    os.mkfifo(folder / "variables/pipe")
    (folder / "hdf5.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "old.pth").write_bytes(pickle.dumps(_Call(command), 2))
    return {
        "pipe": {"source": str(folder / "pipe.joblib")},
        "pipe-without-a-name": {"source": str(folder / "pipe"), "framework": "sklearn"},
        "device": {"source": str(folder / "device.onnx")},
        "saved-model-with-a-pipe": {"source": str(folder / "variables")},
        "saved-model-of-a-pipe": {"source": str(folder / "saved")},
        "hdf5": {"source": str(folder / "hdf5.h5")},
        "torch-of-old": {"source": str(folder / "old.pth")},
    }
