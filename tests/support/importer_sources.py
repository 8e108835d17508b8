# SPDX-License-Identifier: Apache-2.0
"""Small models, trained for real, in every form that the importers take."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from support.package_sources import python_package

_CONV_MODULE = """
import torch


class Conv(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.dropout = torch.nn.Dropout()
        self.head = torch.nn.Linear(4 * 36, 10)

    def forward(self, pixels):
        return self.head(self.dropout(torch.flatten(self.norm(self.convolution(pixels)).relu(), 1)))


class TwoHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, values, mask):
        logits = self.layer(values) * mask
        return {"logits": logits, "probabilities": torch.softmax(logits, -1)}


class Frozen(torch.nn.Module):
    def forward(self, values):
        return values.reshape(2, -1) + 1


def failing():
    raise ValueError("no weights here")
"""


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """One form of source: how to write it, how to ask for it, and what must come out."""

    name: str
    write: Callable[[Path], str]  # into a folder; returns the source
    framework: str
    backend: str = "onnxruntime"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...] = ()
    request: dict[str, Any] = field(default_factory=dict)  # paths relative to the folder

    def __str__(self) -> str:
        return self.name


def wine() -> Any:
    from sklearn.datasets import load_wine

    return load_wine(return_X_y=True, as_frame=True)


def scaled(estimator: Any, rows: Any, targets: Any = None) -> Any:
    """A fitted Pipeline of a scaler and ``estimator``."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), estimator).fit(rows, targets)


def _classifier(folder: Path) -> str:
    import joblib
    from sklearn.linear_model import LogisticRegression

    rows, targets = wine()
    rows.head(5).to_csv(folder / "rows.csv", index=False)
    joblib.dump(scaled(LogisticRegression(), rows, targets), folder / "model.joblib", compress=3)
    return str(folder / "model.joblib")


def _named_classes(folder: Path) -> str:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rows, targets = wine()
    skops.io.dump(
        scaled(LogisticRegression(), rows, np.array(["barolo", "grignolino", "barbera"])[targets]),
        folder / "model.skops",
    )
    return str(folder / "model.skops")


def _two_scores(folder: Path) -> str:
    import pickle

    from sklearn.svm import SVC

    rows, targets = wine()
    (folder / "model.pkl").write_bytes(pickle.dumps(scaled(SVC(), rows.to_numpy(), targets == 1)))
    return str(folder / "model.pkl")


def _regressor(folder: Path) -> str:
    import joblib
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    rows, targets = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(5, random_state=0).fit(rows, np.stack([targets, targets * 2], axis=1))
    joblib.dump(forest, folder / "model.joblib")
    return str(folder / "model.joblib")


def _transformer(folder: Path) -> str:
    import joblib
    from sklearn.decomposition import PCA

    joblib.dump(scaled(PCA(2), wine()[0].to_numpy()), folder / "model.joblib")
    return str(folder / "model.joblib")


def write_linear_onnx(path: Path, *, external: str | None = None) -> None:
    """``y = x @ w`` with ``x`` of ``[-1, 4]`` and ``y`` of ``[-1, 3]``."""
    import onnx

    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", size])
        for name, size in (("x", 4), ("y", 3))
    ]
    weights = onnx.numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "linear", tensors[:1], tensors[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    if external is None:
        onnx.save_model(model, path)
    else:
        (path.parent / external).parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(model, path, save_as_external_data=True, location=external, size_threshold=0)


def _onnx(folder: Path) -> str:
    write_linear_onnx(folder / "some.onnx")
    return str(folder / "some.onnx")


def _onnx_with_external_data(folder: Path) -> str:
    write_linear_onnx(folder / "some.onnx", external="weights/w.bin")
    return str(folder / "some.onnx")


def write_torch_module(folder: Path) -> Any:
    """The Python module ``small_modules`` in ``folder``, imported."""
    import importlib.util

    path = folder / "small_modules.py"
    path.write_text(_CONV_MODULE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("small_modules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _convolution(folder: Path) -> Any:
    import torch

    torch.manual_seed(0)
    np.save(folder / "pixels.npy", np.random.default_rng(0).random((5, 1, 8, 8)))
    return write_torch_module(folder).Conv().eval()


def _exported_program(folder: Path) -> str:
    import torch

    free = {"pixels": {0: torch.export.Dim("rows")}}
    program = torch.export.export(_convolution(folder), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=free)
    torch.export.save(program, folder / "model.pt2")
    return str(folder / "model.pt2")


def _script(folder: Path) -> str:
    import torch

    torch.jit.save(torch.jit.trace(_convolution(folder), torch.zeros(2, 1, 8, 8)), folder / "model.pt")
    return str(folder / "model.pt")


def _factory(folder: Path) -> str:
    from safetensors.torch import save_file

    save_file(_convolution(folder).state_dict(), folder / "weights.safetensors")
    return "small_modules:Conv"


def _factory_of_two_heads(folder: Path) -> str:
    import torch

    module = write_torch_module(folder).TwoHeads()
    torch.save(module.state_dict(), folder / "weights.pth")
    random = np.random.default_rng(0)
    np.savez(folder / "rows.npz", values=random.random((5, 4)), mask=random.random((5, 3)))
    return "small_modules:TwoHeads"


def _hugging_face(folder: Path) -> str:
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 24}
    DistilBertModel(DistilBertConfig(**sizes)).save_pretrained(folder / "model")
    return str(folder / "model")


def _keras(folder: Path) -> str:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.save(folder / "model.keras")
    return str(folder / "model.keras")


def _keras_two_heads(folder: Path) -> str:
    import keras

    keras.utils.set_random_seed(0)
    values, mask = keras.Input((4,), name="values"), keras.Input((3,), name="mask")
    joined = keras.layers.Concatenate()([values, mask])
    heads = {name: keras.layers.Dense(size)(joined) for name, size in (("score", 1), ("logits", 3))}
    keras.Model([values, mask], heads).save(folder / "model.keras")
    return str(folder / "model.keras")


def write_saved_model(folder: Path, *, signature: str = "serving_default") -> str:
    """A SavedModel that doubles ``[-1, 3]`` and says how long each of ``[-1]`` strings is."""
    import tensorflow as tf

    class Doubling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="values")])
        def serve(self, values):
            return {"doubled": values * 2}

    module = Doubling()
    tf.saved_model.save(module, str(folder / "saved"), signatures={signature: module.serve})
    return str(folder / "saved")


def write_text_saved_model(folder: Path) -> str:
    """A SavedModel over ``[-1]`` strings, which ONNX cannot express."""
    import tensorflow as tf

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(self, text):
            return {"length": tf.strings.length(text), "upper": tf.strings.upper(text)}

    module = Lengths()
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    return str(folder / "saved")


def _xgboost(folder: Path) -> str:
    import xgboost

    rows, targets = wine()
    data = xgboost.DMatrix(rows, targets)
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 2}
    xgboost.train(settings, data, 5).save_model(folder / "model.ubj")
    rows.head(20).to_csv(folder / "rows.csv", index=False)
    return str(folder / "model.ubj")


def _xgboost_wrapper(folder: Path) -> str:
    import joblib
    import xgboost

    rows, targets = wine()
    joblib.dump(xgboost.XGBRegressor(n_estimators=5, n_jobs=2).fit(rows, targets), folder / "model.joblib", compress=3)
    return str(folder / "model.joblib")


def _lightgbm(folder: Path) -> str:
    import lightgbm

    rows, targets = wine()
    data = lightgbm.Dataset(rows.to_numpy(), targets == 1)
    settings = {"objective": "binary", "num_threads": 2, "verbosity": -1}
    lightgbm.train(settings, data, 5).save_model(folder / "model.txt")
    return str(folder / "model.txt")


def _catboost(folder: Path) -> str:
    import catboost

    rows, targets = wine()
    model = catboost.CatBoostClassifier(iterations=5, depth=3, verbose=False, allow_writing_files=False, thread_count=2)
    names = np.array(["barolo", "grignolino", "barbera"])[targets]
    model.fit(rows.to_numpy(), names).save_model(str(folder / "model.cbm"))
    return str(folder / "model.cbm")


def _python_class(folder: Path) -> str:
    python_package(folder)
    return "shop.scoring:Scorer"


CASES = (
    SourceCase(
        name="sklearn-classifier-joblib",
        write=_classifier,
        framework="sklearn",
        inputs=("features",),
        outputs=("label", "probabilities"),
        request={"sample": "rows.csv"},
    ),
    SourceCase(
        name="sklearn-named-classes-skops",
        write=_named_classes,
        framework="sklearn",
        inputs=("features",),
        outputs=("label", "probabilities"),
        labels=("barbera", "barolo", "grignolino"),
    ),
    SourceCase(
        name="sklearn-two-scores-pickle",
        write=_two_scores,
        framework="sklearn",
        inputs=("features",),
        outputs=("label", "scores"),
    ),
    SourceCase(
        name="sklearn-regressor-two-targets",
        write=_regressor,
        framework="sklearn",
        inputs=("features",),
        outputs=("prediction",),
    ),
    SourceCase(
        name="sklearn-transformer",
        write=_transformer,
        framework="sklearn",
        inputs=("features",),
        outputs=("transformed",),
    ),
    SourceCase(
        name="python-class",
        write=_python_class,
        framework="python",
        backend="python",
        inputs=("visits", "city"),
        outputs=("score", "greeting"),
    ),
    SourceCase(name="onnx", write=_onnx, framework="onnx", inputs=("x",), outputs=("y",)),
    SourceCase(
        name="onnx-external-data", write=_onnx_with_external_data, framework="onnx", inputs=("x",), outputs=("y",)
    ),
    SourceCase(
        name="pytorch-exported-program",
        write=_exported_program,
        framework="pytorch",
        inputs=("pixels",),
        outputs=("output",),
    ),
    SourceCase(
        name="pytorch-exported-program-as-script",
        write=_exported_program,
        framework="pytorch",
        backend="pytorch",
        inputs=("pixels",),
        outputs=("OUTPUT__0",),
        request={"backend": "pytorch"},
    ),
    SourceCase(
        name="pytorch-script",
        write=_script,
        framework="pytorch",
        backend="pytorch",
        inputs=("pixels",),
        outputs=("OUTPUT__0",),
        request={"sample": "pixels.npy", "trusted_source": True},
    ),
    SourceCase(
        name="pytorch-factory-safetensors",
        write=_factory,
        framework="pytorch",
        inputs=("pixels",),
        outputs=("output",),
        request={"sample": "pixels.npy", "weights": "weights.safetensors"},
    ),
    SourceCase(
        name="pytorch-factory-state-dict",
        write=_factory_of_two_heads,
        framework="pytorch",
        inputs=("values", "mask"),
        outputs=("logits", "probabilities"),
        request={"sample": "rows.npz", "weights": "weights.pth"},
    ),
    SourceCase(
        name="pytorch-factory-as-script",
        write=_factory,
        framework="pytorch",
        backend="pytorch",
        inputs=("pixels",),
        outputs=("OUTPUT__0",),
        request={"sample": "pixels.npy", "weights": "weights.safetensors", "backend": "pytorch"},
    ),
    SourceCase(
        name="huggingface-features",
        write=_hugging_face,
        framework="huggingface",
        inputs=("input_ids", "attention_mask"),
        outputs=("last_hidden_state",),
    ),
    SourceCase(name="keras", write=_keras, framework="tensorflow", inputs=("pixels",), outputs=("output_0",)),
    SourceCase(
        name="keras-two-heads",
        write=_keras_two_heads,
        framework="tensorflow",
        inputs=("mask", "values"),
        outputs=("logits", "score"),
    ),
    SourceCase(
        name="keras-as-saved-model",
        write=_keras,
        framework="tensorflow",
        backend="tensorflow",
        inputs=("pixels",),
        outputs=("output_0",),
        request={"backend": "tensorflow"},
    ),
    SourceCase(
        name="saved-model", write=write_saved_model, framework="tensorflow", inputs=("values",), outputs=("doubled",)
    ),
    SourceCase(
        name="saved-model-of-text",
        write=write_text_saved_model,
        framework="tensorflow",
        backend="tensorflow",
        inputs=("text",),
        outputs=("length", "upper"),
        request={"backend": "tensorflow"},
    ),
    SourceCase(
        name="xgboost",
        write=_xgboost,
        framework="xgboost",
        inputs=("features",),
        outputs=("label", "probabilities"),
        request={"sample": "rows.csv"},
    ),
    SourceCase(
        name="xgboost-wrapper-joblib",
        write=_xgboost_wrapper,
        framework="xgboost",
        inputs=("features",),
        outputs=("prediction",),
    ),
    SourceCase(
        name="lightgbm",
        write=_lightgbm,
        framework="lightgbm",
        inputs=("features",),
        outputs=("label", "probabilities"),
    ),
    SourceCase(
        name="catboost",
        write=_catboost,
        framework="catboost",
        inputs=("features",),
        outputs=("label", "probabilities"),
        labels=("barbera", "barolo", "grignolino"),
    ),
)
