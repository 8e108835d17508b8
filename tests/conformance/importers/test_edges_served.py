# SPDX-License-Identifier: Apache-2.0
"""Rows at the edges of their types, through the real server: NaN, infinities, the largest ints, empty strings."""

import sys

import joblib
import numpy as np
import pytest

from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import read_published_sample
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.progress import RecordedProgress

FLOATS = np.array(
    [
        [0.0, -0.0, 1.0, np.nan],
        [np.inf, 1.0, 2.0, 3.0],
        [-np.inf, 1e-45, -1e-45, 1.0],
        [3.4e38, -3.4e38, 1e38, 1.0],
        [np.nan, np.nan, np.nan, np.nan],
    ],
    dtype=np.float32,
)
INTS = np.array([[np.iinfo(np.int64).max, np.iinfo(np.int64).min], [0, -1], [2**53 + 1, -(2**53) - 1]], dtype=np.int64)
WORDS = np.array([[""], ["a"], ["ä€𝄞"], [" "], ["x" * 1000]], dtype=object)

NETS = """
import torch
from torch import nn


class Clamped(nn.Module):
    def forward(self, values):
        return torch.relu(values) + values.clamp(-1, 1)


class Flipped(nn.Module):
    def forward(self, ids):
        return {"same": ids.clone(), "flipped": ~ids, "positive": ids > 0}
"""


ECHO = """
import numpy as np


class Echo:
    def predict(self, arrays):
        words = arrays["words"]
        return {"again": words, "lengths": np.vectorize(len, otypes=[np.int32])(words)}
"""


def write_nets(folder):
    (folder / "edge_nets.py").write_text(NETS)


def torch_floats(folder):
    write_nets(folder)
    return {"source": "edge_nets:Clamped", "weights_inside": True}, {"values": FLOATS}


def torch_ints(folder):
    write_nets(folder)
    return {"source": "edge_nets:Flipped", "weights_inside": True}, {"ids": INTS}


def torch_floats_as_torchscript(folder):
    asked, sample = torch_floats(folder)
    return asked | {"backend": "pytorch"}, sample


def keras_floats(folder):
    import keras

    inputs = keras.Input((4,), name="values")
    keras.Model(inputs, keras.layers.ReLU(max_value=6.0)(inputs)).save(folder / "relu.keras")
    return {"source": str(folder / "relu.keras")}, {"values": FLOATS}


def sklearn_missing(folder):
    from sklearn.ensemble import HistGradientBoostingClassifier

    random = np.random.default_rng(3)
    rows = random.normal(size=(60, 4)).astype(np.float32)
    rows[::5, 1] = np.nan
    joblib.dump(HistGradientBoostingClassifier(max_iter=5).fit(rows, np.arange(60) % 2), folder / "trees.joblib")
    return {"source": str(folder / "trees.joblib")}, {"features": FLOATS}


def sklearn_words(folder):
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(WORDS[:3])
    joblib.dump(encoder, folder / "words.joblib")
    return {"source": str(folder / "words.joblib")}, {"features": WORDS}


def xgboost_missing(folder):
    import xgboost

    random = np.random.default_rng(3)
    rows = random.normal(size=(60, 4)).astype(np.float32)
    rows[::5, 1] = np.nan
    xgboost.XGBRegressor(n_estimators=5).fit(rows, np.arange(60) % 7).save_model(folder / "trees.json")
    finite = np.where(np.isinf(FLOATS), np.float32(3.4e38), FLOATS)  # XGBoost itself refuses infinities
    return {"source": str(folder / "trees.json")}, {"features": finite}


def python_words(folder):
    (folder / "edge_words.py").write_text(ECHO)
    return {"source": "edge_words:Echo"}, {"words": WORDS}


EDGES = [
    *(
        pytest.param(edge, marks=pytest.mark.slow(reason="torch exports it anew; Keras has the same edges"))
        for edge in (torch_floats, torch_ints, torch_floats_as_torchscript)
    ),
    keras_floats,
    sklearn_missing,
    sklearn_words,
    xgboost_missing,
    python_words,
]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.__name__)
def test_rows_at_the_edges_are_answered_as_the_framework_answers_them(edge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    asked, rows = edge(tmp_path)
    as_text = {name: array.astype(str) if array.dtype == object else array for name, array in rows.items()}
    np.savez(tmp_path / "sample.npz", **as_text)
    request = AddModelRequest(name="edge", repository=tmp_path / "models", sample=tmp_path / "sample.npz", **asked)
    added = add_model(request, RecordedProgress())
    assert added.parity is not None
    assert added.parity.equal
    published = read_published_sample(ModelRepository(tmp_path / "models").model("edge").sample_path(1))
    for name, array in rows.items():
        sent = published.inputs[name]
        assert len(sent) == len(array)  # every edge was sent, none was left out
