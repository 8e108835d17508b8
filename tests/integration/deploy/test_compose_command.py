# SPDX-License-Identifier: Apache-2.0
"""A real tritonserver started by deploy/triton/start-triton with the command of docker-compose.yml."""

import json
import re
import shutil
import subprocess

import pytest

from support.compose import KEY, ROOT, ask, compose_server
from support.importer_sources import write_text_saved_model
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

TEXTS = """backend: "tensorflow"
input [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] } ]
output [
  { name: "length" data_type: TYPE_INT32 dims: [ -1 ] },
  { name: "upper" data_type: TYPE_STRING dims: [ -1 ] }
]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def add(repository, name, config):
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(SOURCE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the server finds its models and backends."""
    return tmp_path_factory.mktemp("compose")


@pytest.fixture(scope="module")
def address(folder):
    """The address of a server with a good model, a broken one, and one of the backend that the image gets from us."""
    add(folder / "models", "good", CONFIG)
    add(folder / "models", "broken", CONFIG.replace("python", "no_such_backend"))
    shutil.copytree(RuleCase("REL107", "bad").path / "linear", folder / "models" / "linear")
    (folder / "models" / "good" / "configs").mkdir()
    (folder / "models" / "good" / "configs" / "cpu.pbtxt").write_text(f"max_batch_size: 7 {CONFIG}")
    with compose_server(folder, ready="linear", MODEL_CONFIG_NAME="cpu") as host:
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
    assert json.loads(body)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]


def test_the_chosen_variant_is_served(address):
    assert json.loads(ask(address, "/v2/models/good/config")[1])["max_batch_size"] == 7


def test_the_backend_that_is_brought_along_serves(address):
    x = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    status, body = ask(address, "/v2/models/linear/infer", method="POST", body=json.dumps({"inputs": [x]}))
    assert status == 200, body
    (output,) = json.loads(body)["outputs"]
    assert output["data"] == [1, 2, 5, 6]


def test_the_backend_that_is_brought_along_serves_what_onnx_cannot_express(address, folder):
    (folder / "models" / "texts" / "1").mkdir(parents=True)
    (folder / "models" / "texts" / "config.pbtxt").write_text(TEXTS)
    shutil.move(write_text_saved_model(folder), folder / "models" / "texts" / "1" / "model.savedmodel")
    status, body = ask(address, "/v2/repository/models/texts/load", method="POST", key=KEY, timeout_s=60)
    assert status == 200, body
    text = {"name": "text", "datatype": "BYTES", "shape": [3], "data": ["a fox", "", "Grün"]}
    status, body = ask(address, "/v2/models/texts/infer", method="POST", body=json.dumps({"inputs": [text]}))
    assert status == 200, body
    outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    assert outputs == {"length": [5, 0, 5], "upper": ["A FOX", "", "GRüN"]}


def test_the_folder_that_the_docs_mount_is_the_one_of_the_image(address, folder, tmp_path):
    shell = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/serve.md").read_text(), re.MULTILINE | re.DOTALL)
    (fill,) = [lines for lines in shell if lines.startswith("backends=")]
    subprocess.run(["sh", "-eu", "-c", fill.replace("mounted/", f"{tmp_path}/")], cwd=ROOT, check=True)
    served = folder / "backends" / "tensorflow"
    files = {path.name: path.read_bytes() for path in served.iterdir() if path.is_file()}
    assert "model.py" in files
    assert {path.name: path.read_bytes() for path in (tmp_path / "tensorflow").iterdir()} == files
