# SPDX-License-Identifier: Apache-2.0
"""Small sources of every kind of trouble, and a repository with models in it."""

import json

import numpy as np
import pytest

from support.command import repo_tool


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """A folder with a classifier, its rows and labels, and ONNX models with one trouble each."""
    folder = tmp_path_factory.mktemp("sources")
    write_classifier(folder)
    write_onnx_models(folder)
    write_bad_files(folder)
    return folder


def write_classifier(folder):
    import joblib
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, answers = load_wine(return_X_y=True)
    rows = rows.astype(np.float32)
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, answers), folder / "wine.joblib")
    np.savez(folder / "wine.npz", features=rows[::6])
    (folder / "wine.labels.txt").write_text("barolo\ngrignolino\nbarbera\n")
    names = ",".join(f"c{index}" for index in range(13))
    np.savetxt(folder / "wine.csv", rows[:5], delimiter=",", header=names, comments="")


def write_onnx_models(folder):
    import onnx
    from onnx import TensorProto, helper

    def save(name, shape, opset=17, operator="Relu"):
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"])],
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.save(model, folder / f"{name}.onnx")

    save("relu", ["batch", 4])
    save("fixed", [1, 4])


def write_bad_files(folder):
    import joblib

    (folder / "empty.onnx").write_bytes(b"")
    (folder / "truncated.onnx").write_bytes((folder / "relu.onnx").read_bytes()[:20])
    joblib.dump({"weights": [1, 2, 3]}, folder / "dictionary.joblib")
    (folder / "notes.docx").write_bytes(b"PK")
    np.savez(folder / "narrow.npz", features=np.ones((3, 5), dtype=np.float32))
    np.savez(folder / "words.npz", features=np.array([["a"] * 13]))
    (folder / "two_labels.txt").write_text("yes\nno\n")


@pytest.fixture(scope="session")
def published(sources, tmp_path_factory):
    """A repository with version 1 of `wine`, and what add-model said about it."""
    repository = tmp_path_factory.mktemp("published") / "model_repository"
    done = repo_tool(
        *("add-model", sources / "wine.joblib", "--name", "wine", "--repository", repository, "--cores", 2),
        *("--sample", sources / "wine.npz", "--labels", sources / "wine.labels.txt", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return repository, json.loads(done.stdout)
