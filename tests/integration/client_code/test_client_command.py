# SPDX-License-Identifier: Apache-2.0
"""``repo-tool client generate``."""

import json

import pytest

from repo_tool.datatypes import DataType
from repo_tool.workflows.generate_clients import GenerateRequest, generate_clients
from support.command import repo_tool


def test_a_file_is_up_to_date_until_a_model_changes(tmp_path, served_repository):
    clients = tmp_path / "clients.py"
    generate = ("client", "generate", "wine", "table", "-r", served_repository, "-o", clients)
    assert repo_tool(*generate).stdout == f"wrote {clients}\n"
    written = clients.read_bytes()
    done = repo_tool(*generate, "--check")
    assert (done.returncode, done.stdout) == (0, f"{clients} is up to date\n")
    clients.write_bytes(written.replace(b'"FP32", (13,)', b'"FP32", (14,)'))
    done = repo_tool(*generate, "--check")
    assert done.returncode == 1
    assert '+    inputs=(Tensor("measurements", "FP32", (13,)),),' in done.stdout
    assert f"{clients} is stale" in done.stderr
    assert repo_tool(*generate).returncode == 0
    assert clients.read_bytes() == written


def test_a_file_that_is_not_there_is_stale(tmp_path, served_repository):
    clients = tmp_path / "clients.py"
    done = repo_tool("client", "generate", "wine", "-r", served_repository, "-o", clients, "--check")
    assert done.returncode == 1
    assert not clients.exists()


def test_without_a_file_the_clients_are_shown(served_repository):
    shown = repo_tool("client", "generate", "wine", "-r", served_repository).stdout
    assert "class Wine(TypedModel):" in shown
    assert "class Diabetes" not in shown


def test_a_check_needs_a_file(served_repository):
    done = repo_tool("client", "generate", "-r", served_repository, "--check")
    assert done.returncode == 2
    assert "-o" in done.stderr


def test_a_misspelt_model_is_named_with_the_nearest(served_repository):
    done = repo_tool("client", "generate", "wnie", "-r", served_repository)
    assert done.returncode == 2
    assert "did you mean 'wine'?" in done.stderr


def test_a_configuration_that_names_no_tensors_sends_to_a_server(tmp_path):
    folder = tmp_path / "models" / "bare" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text('name: "bare"\nbackend: "onnxruntime"\n')
    done = repo_tool("client", "generate", "-r", tmp_path / "models")
    assert done.returncode == 2
    assert "names no input" in done.stderr
    assert "--server" in done.stderr


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_tells_the_same_signatures_as_the_repository(code_server, served_repository, scheme):
    models = (
        "table",
        "optional",
        "countdown",
        "running_sum",
        "every_whole",
        "clashes",
        "chain",
        "a-b",
    )  # none with samples
    address = code_server.grpc_url if scheme == "grpc" else code_server.http_url
    by_file = generate_clients(GenerateRequest(models=models, repository=served_repository))
    by_server = generate_clients(GenerateRequest(models=models, server=f"{scheme}://{address}"))
    assert without_origin(by_server) == without_origin(by_file)


def without_origin(text):
    return [line for line in text.splitlines() if "Version 1" not in line]


def test_a_server_is_asked_for_all_that_it_has_loaded(code_server):
    shown = repo_tool("client", "generate", "--server", f"grpc://{code_server.grpc_url}").stdout
    assert "class Wine(TypedModel):" in shown
    assert "class Countdown(TypedModel):" in shown


def test_a_dead_server_is_the_servers_fault_not_a_bug():
    done = repo_tool("client", "generate", "--server", "grpc://127.0.0.1:9")
    assert done.returncode == 2
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_data_type_has_clients(served_repository):
    shown = repo_tool("client", "generate", "every_type", "-r", served_repository).stdout
    for datatype in DataType:
        assert json.dumps(datatype.wire_name) in shown
