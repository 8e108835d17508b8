# SPDX-License-Identifier: Apache-2.0
"""A real tritonserver started by deploy/triton/start-triton with the command of docker-compose.yml."""

import json
import shutil

import pytest

from support.compose import KEY, ask, compose_server
from support.rule_cases import RuleCase

SOURCE = """class TritonPythonModel:
    def execute(self, requests):
        return []
"""
CONFIG = """backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def add(repository, name, config):
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(SOURCE)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a server with a good model, a broken one, and one of the backend that the image gets from us."""
    folder = tmp_path_factory.mktemp("compose")
    add(folder / "models", "good", CONFIG)
    add(folder / "models", "broken", CONFIG.replace("python", "no_such_backend"))
    shutil.copytree(RuleCase("REL107", "bad").path / "linear", folder / "models" / "linear")
    with compose_server(folder, ready="linear") as host:
        yield host


def test_a_broken_model_leaves_the_good_one_serving_and_the_server_not_ready(address):
    assert ask(address, "/v2/models/good/ready")[0] == 200
    assert ask(address, "/v2/health/live")[0] == 200
    assert ask(address, "/v2/health/ready")[0] == 400


@pytest.mark.parametrize("path", ["/v2/repository/models/good/load", "/v2/repository/index"])
def test_models_change_only_for_whoever_has_the_key(address, path):
    assert ask(address, path, method="POST")[0] == 403
    assert ask(address, path, method="POST", key="another")[0] == 403
    assert ask(address, path, method="POST", key=KEY)[0] == 200


@pytest.mark.parametrize("path", ["/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging"])
def test_shared_memory_trace_and_log_settings_are_closed(address, path):
    assert ask(address, path)[0] == 403


def test_metadata_is_open(address):
    status, body = ask(address, "/v2/models/good")
    assert status == 200
    assert json.loads(body)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [4]}]


def test_the_backend_that_is_brought_along_serves(address):
    x = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    status, body = ask(address, "/v2/models/linear/infer", method="POST", body=json.dumps({"inputs": [x]}))
    assert status == 200, body
    (output,) = json.loads(body)["outputs"]
    assert output["data"] == [1, 2, 5, 6]
