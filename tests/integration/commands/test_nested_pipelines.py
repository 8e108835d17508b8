# SPDX-License-Identifier: Apache-2.0
"""A pipeline whose block calls models is a member like any other: what it calls comes along, also through others."""

import numpy as np
import pytest
import yaml

from repo_client import Client
from repo_tool.triton import EmbeddedServer
from support.command import repo_tool

pytestmark = pytest.mark.slow


def repeated(name, member):
    """``member`` twice: its answer is its next question."""
    block = {"repeat": {"carry": {"y": "x"}, "at_most": 2}, "steps": [{"model": member}], "outputs": ["y"]}
    return {
        "name": name,
        "inputs": {"x": {"datatype": "FP32", "dims": [4]}},
        "steps": [block],
        "outputs": ["y"],
    }


@pytest.fixture(scope="module")
def nested(sources, tmp_path_factory):
    """A repository where ``outer`` calls ``inner``, which calls ``relu``."""
    folder = tmp_path_factory.mktemp("nested")
    np.savez(folder / "rows.npz", x=np.arange(-6, 6, dtype=np.float32).reshape(3, 4))
    added = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", folder / "models")
    assert added.returncode == 0, added.stderr
    for name, member in (("inner", "relu"), ("outer", "inner")):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(repeated(name, member)))
        added = repo_tool(
            "add-pipeline", folder / f"{name}.yaml", "--sample", folder / "rows.npz", "-r", "models", cwd=folder
        )
        assert added.returncode == 0, added.stderr
    return folder / "models"


def test_who_asks_for_a_pipeline_gets_what_it_calls(nested):
    with EmbeddedServer(nested) as server:
        outcomes = server.load_all(["outer"])
        assert [(outcome.model, outcome.state) for outcome in outcomes] == [
            ("inner", "READY"),
            ("outer", "READY"),
            ("relu", "READY"),
        ]
        with Client(f"grpc://{server.grpc_url}") as client:
            answer = client.model("outer").infer({"x": np.array([[-1, 0, 1, 2]], dtype=np.float32)})
    assert answer["y"].tolist() == [[0, 0, 1, 2]]
    verified = repo_tool("verify", "outer", "--serve", "-r", nested)
    assert verified.returncode == 0, verified.stderr


def test_it_goes_back_over_what_it_calls(nested):
    """What a version calls is read from the configuration that it had."""
    added = repo_tool("add-pipeline", "outer.yaml", "--sample", "rows.npz", "-r", "models", cwd=nested.parent)
    assert added.returncode == 0, added.stderr
    back = repo_tool("rollback", "outer", "-r", nested)
    assert back.returncode == 0, back.stderr
    refused = repo_tool("add-pipeline", "inner.yaml", "--sample", "rows.npz", "-r", "models", cwd=nested.parent)
    assert refused.returncode == 2
    assert "'outer' was proven with the 'inner' that there is" in refused.stderr
