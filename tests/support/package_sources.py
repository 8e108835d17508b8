# SPDX-License-Identifier: Apache-2.0
"""Packages of other serving tools, written file by file in those tools' own layouts; and plain Python classes.

MLflow: https://mlflow.org/docs/latest/ml/model/, TorchServe: its model-archiver's README, BentoML: its model store.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import yaml

COLUMNS = ("alcohol", "malic acid", "ash", "alcalinity")


def wine() -> tuple[Any, Any]:
    """Four named columns as a DataFrame, and the classes."""
    from sklearn.datasets import load_wine

    frame, classes = load_wine(return_X_y=True, as_frame=True)
    frame = frame.iloc[:, :4]
    frame.columns = list(COLUMNS)
    return frame, classes


def classifier() -> Any:
    """A fitted scaler and logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, classes = wine()
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(frame, classes)


# --- MLflow ----------------------------------------------------------------------------------------------------------


def mlflow_folder(folder: Path, flavor: str, values: dict[str, Any], *, loader: str = "", **more: Any) -> Path:
    """A folder with an ``MLmodel`` of one flavor beside ``python_function``, and an example of five rows."""
    root = folder / f"mlflow_{flavor}"
    root.mkdir(parents=True, exist_ok=True)
    flavors = {
        "python_function": {
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": loader or f"mlflow.{flavor}",
            "python_version": "3.11.4",
        }
    }
    if values:
        flavors[flavor] = values
    description = {
        "artifact_path": "model",
        "flavors": flavors,
        "mlflow_version": "2.20.1",
        "model_uuid": "0badaf06aa254da9811188d6c060a176",
        "run_id": "8f61417c580541cb84d88586a3a1a44a",
        "utc_time_created": "2025-02-03 10:11:12.345678",
        **more,
    }
    (root / "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")
    (root / "requirements.txt").write_text("mlflow==2.20.1\n", encoding="utf-8")
    return root


def dataframe_example(root: Path, frame: Any) -> dict[str, Any]:
    """Write the rows as MLflow writes a DataFrame, and say what ``MLmodel`` says of them."""
    values = {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}
    root.mkdir(parents=True, exist_ok=True)
    (root / "input_example.json").write_text(json.dumps(values), encoding="utf-8")
    return {"artifact_path": "input_example.json", "pandas_orient": "split", "type": "dataframe"}


def tensor_example(root: Path, values: Any) -> dict[str, Any]:
    """The same for arrays."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "input_example.json").write_text(json.dumps({"inputs": values}), encoding="utf-8")
    return {"artifact_path": "input_example.json", "format": "tf-serving", "type": "ndarray"}


def mlflow_sklearn(folder: Path) -> Path:
    """``mlflow.sklearn.save_model`` of MLflow 2, with a DataFrame as input example."""
    values = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle", "sklearn_version": "1.6.1"}
    example = dataframe_example(folder / "mlflow_sklearn", wine()[0].head(5))
    root = mlflow_folder(folder, "sklearn", values | {"code": None}, saved_input_example_info=example)
    joblib.dump(classifier(), root / "model.pkl")
    return root


def mlflow_skops(folder: Path) -> Path:
    """The same in skops format, as MLflow 3 may save it."""
    import skops.io

    values = {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": []}
    root = mlflow_folder(folder, "sklearn", values)
    skops.io.dump(classifier(), root / "model.skops")
    return root


def relu_onnx(path: Path) -> None:
    """An ONNX file: ``y = relu(x)``."""
    import onnx

    text = '<ir_version: 8, opset_import: ["" : 17]> relu (float[N,4] x) => (float[N,4] y) { y = Relu(x) }'
    onnx.save_model(onnx.parser.parse_model(text), path)


def mlflow_onnx(folder: Path) -> Path:
    """``mlflow.onnx.save_model``, with a dict of arrays as input example."""
    example = tensor_example(folder / "mlflow_onnx", {"x": [[1.5, -2.0, 0.0, 4.0], [-1.0, 1.0, 2.0, -3.0]]})
    values = {"data": "model.onnx", "onnx_version": "1.17.0", "providers": ["CPUExecutionProvider"], "code": None}
    root = mlflow_folder(folder, "onnx", values, saved_input_example_info=example)
    relu_onnx(root / "model.onnx")
    return root


def mlflow_pytorch(folder: Path) -> Path:
    """``mlflow.pytorch.save_model`` of a scripted module."""
    import torch

    example = tensor_example(folder / "mlflow_pytorch", [[0.5, 1.0, -1.0, 2.0], [1.0, 0.0, 0.25, -2.0]])
    root = mlflow_folder(
        folder, "pytorch", {"model_data": "data", "pytorch_version": "2.6.0"}, saved_input_example_info=example
    )
    (root / "data").mkdir()
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(torch.nn.Linear(4, 2).eval()), root / "data" / "model.pth")
    (root / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module", encoding="utf-8")
    return root


def mlflow_keras(folder: Path) -> Path:
    """``mlflow.tensorflow.save_model`` of a Keras model."""
    import keras

    values = {"data": "data", "keras_version": "3.8.0", "model_type": "keras", "save_format": "tf", "code": None}
    root = mlflow_folder(folder, "tensorflow", values)
    (root / "data").mkdir()
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(root / "data" / "model.keras")
    return root


def mlflow_xgboost(folder: Path) -> Path:
    """``mlflow.xgboost.save_model`` of a wrapped classifier: UBJSON under a name of MLflow's."""
    import xgboost

    frame, classes = wine()
    values = {"data": "model.xgb", "model_class": "xgboost.sklearn.XGBClassifier", "model_format": "xgb"}
    root = mlflow_folder(folder, "xgboost", values)
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=3, random_state=0).fit(frame.to_numpy(), classes)
    model.save_model(root / "model.ubj")
    (root / "model.ubj").rename(root / "model.xgb")
    return root


def mlflow_lightgbm(folder: Path) -> Path:
    """``mlflow.lightgbm.save_model`` of a Booster: text under a name of MLflow's."""
    import lightgbm

    frame, classes = wine()
    root = mlflow_folder(folder, "lightgbm", {"data": "model.lgb", "lgb_version": "4.5.0", "code": None})
    model = lightgbm.LGBMClassifier(n_estimators=5, random_state=0, verbose=-1).fit(frame.to_numpy(), classes)
    model.booster_.save_model(root / "model.lgb")
    return root


def mlflow_catboost(folder: Path) -> Path:
    """``mlflow.catboost.save_model``: cbm under a name of MLflow's."""
    import catboost

    frame, classes = wine()
    values = {"data": "model.cb", "model_type": "CatBoostClassifier", "save_format": "cbm", "code": None}
    root = mlflow_folder(folder, "catboost", values)
    model = catboost.CatBoostClassifier(iterations=5, random_seed=0, verbose=False, allow_writing_files=False)
    model.fit(frame.to_numpy(), classes).save_model(str(root / "model.cb"))
    return root


def mlflow_python_function(folder: Path) -> Path:
    """``mlflow.pyfunc.save_model(python_model=…)``, which only MLflow can load."""
    root = mlflow_folder(folder, "python_function", {}, loader="mlflow.pyfunc.model")
    description = yaml.safe_load((root / "MLmodel").read_text(encoding="utf-8"))
    artifacts = {"words": {"path": "artifacts/words.txt", "uri": "words.txt"}}
    description["flavors"]["python_function"] |= {"python_model": "python_model.pkl", "artifacts": artifacts}
    (root / "requirements.txt").write_text("mlflow==2.20.1\ncloudpickle==3.1\ntorch>=2\n# ours\nscikit-learn[x]==1.6\n")
    (root / "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")
    (root / "python_model.pkl").write_bytes(b"\x80\x04N.")
    return root


# --- BentoML ---------------------------------------------------------------------------------------------------------


def bento_model(folder: Path, module: str, *, name: str = "wine") -> Path:
    """A folder of BentoML's model store with its ``model.yaml``, still without the model."""
    root = folder / "models" / name / "abcdef123"
    root.mkdir(parents=True)
    description = {
        "name": name,
        "version": "abcdef123",
        "bentoml_version": "1.2.20",
        "module": module,
        "api_version": "v1",
        "signatures": {"predict": {"batchable": True, "batch_dim": [0, 0]}},
        "context": {"framework_name": "sklearn", "framework_versions": {"scikit-learn": "1.6.1"}},
        "creation_time": "2025-02-03T10:11:12+00:00",
    }
    (root / "model.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return root


def bento_sklearn(folder: Path) -> Path:
    """``bentoml.sklearn.save_model``."""
    root = bento_model(folder, "bentoml.sklearn")
    joblib.dump(classifier(), root / "saved_model.pkl")
    return root


def bento_of_mlflow(folder: Path) -> Path:
    """``bentoml.mlflow.import_model``: an MLflow folder inside BentoML's."""
    root = bento_model(folder, "bentoml.mlflow")
    mlflow_onnx(folder).rename(root / "mlflow_model")
    return root


def whole_bento(folder: Path) -> Path:
    """A bento, which carries its one model along."""
    bento_sklearn(folder / "bento")
    (folder / "bento" / "bento.yaml").write_text("service: service:svc\nname: wine\n", encoding="utf-8")
    return folder / "bento"


# --- TorchServe ------------------------------------------------------------------------------------------------------

NET = """
import torch
from scaling import halved


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, rows):
        return torch.softmax(self.layer(halved(rows)), dim=1)
"""
SCALING = "def halved(rows):\n    return rows / 2\n"
HANDLER = """
import io
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler


class MyHandler(BaseHandler):
    def preprocess(self, data):
        raise AssertionError("reading an archive must not run its code")

    def postprocess(self, data):
        return data.tolist()
"""


def mar(path: Path, members: dict[str, bytes | str], **model: str) -> Path:
    """A ``.mar`` of the members and a manifest that says ``model`` of them."""
    manifest = {
        "createdOn": "03/02/2025 10:11:12",
        "runtime": "python",
        "model": {"modelName": "net", "modelVersion": "1.0", **model},
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def _scripted(folder: Path) -> bytes:
    import torch

    torch.manual_seed(0)
    path = folder / "scripted.pt"
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1)).eval()), path)
    return path.read_bytes()


def mar_scripted(folder: Path) -> Path:
    """TorchScript with the handler for pictures and its names of the classes."""
    names = json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"], "2": ["n01484850", "shark"]})
    members = {"scripted.pt": _scripted(folder), "index_to_name.json": names}
    return mar(folder / "net.mar", members, serializedFile="scripted.pt", handler="image_classifier")


def mar_eager(folder: Path) -> Path:
    """A module's code, a module that it imports, and a state dict."""
    import torch

    torch.manual_seed(0)
    state = {"layer.weight": torch.randn(3, 4), "layer.bias": torch.randn(3)}
    torch.save(state, folder / "state.pt")
    members = {"model.py": NET, "scaling.py": SCALING, "state.pt": (folder / "state.pt").read_bytes()}
    return mar(folder / "eager.mar", members, serializedFile="state.pt", modelFile="model.py", handler="base_handler")


def mar_with_own_handler(folder: Path) -> Path:
    """TorchScript behind a handler of its author's."""
    members = {"scripted.pt": _scripted(folder), "my_handler.py": HANDLER}
    return mar(folder / "own.mar", members, serializedFile="scripted.pt", handler="my_handler.py:MyHandler")


def rows_npy(folder: Path, width: int = 4) -> Path:
    """Real-looking rows without a name."""
    path = folder / "rows.npy"
    np.save(path, np.random.default_rng(3).normal(size=(12, width)).astype(np.float32))
    return path


# --- plain Python ----------------------------------------------------------------------------------------------------

SCORER = """
from pathlib import Path

import numpy as np

from shop.features import squared


class Scorer:
    inputs = {"visits": ("float32", [-1, 3]), "city": ("str", [-1])}

    def __init__(self):
        self.weights = np.loadtxt(Path(__file__).with_name("weights.txt"), dtype=np.float32)

    def predict(self, arrays):
        if np.isnan(arrays["visits"]).any():
            raise ValueError("visits must be numbers")
        score = squared(arrays["visits"]) @ self.weights
        return {"score": score, "greeting": np.array([b"hello " + city for city in arrays["city"]], dtype=object)}


class Ranker:
    def predict(self, arrays):
        return {"rank": np.argsort(np.argsort(arrays["value"])).astype(np.int64)}


class Silent:
    def predict(self, arrays):
        return 3


class Broken:
    def __init__(self, path):
        self.path = path

    def predict(self, arrays):
        return arrays


def make_scorer():
    return Scorer()
"""


def python_package(folder: Path) -> Path:
    """A package ``shop`` with classes to serve, a module beside them and a file of weights; in ``folder``."""
    package = folder / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "scoring.py").write_text(SCORER, encoding="utf-8")
    (package / "features.py").write_text("def squared(values):\n    return values * values\n", encoding="utf-8")
    (package / "weights.txt").write_text("1 2 3\n", encoding="utf-8")
    (package / "unused.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    np.savez(folder / "ranks.npz", value=np.array([3.0, 1.0, 2.0, 5.0, 4.0], dtype=np.float32))
    return folder


# --- models worth refining -------------------------------------------------------------------------------------------


def digits_mlp(folder: Path) -> tuple[Path, Path]:
    """A perceptron of two hidden layers over digits, and 200 rows of them."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    rows, classes = load_digits(return_X_y=True)
    rows = (rows / 16).astype(np.float32)
    model, sample = folder / "digits.joblib", folder / "digits_rows.npy"
    joblib.dump(MLPClassifier((128, 64), max_iter=60, random_state=0).fit(rows, classes), model)
    np.save(sample, rows[:200])
    return model, sample
