# SPDX-License-Identifier: Apache-2.0
"""``repo-tool client generate``."""

import json

import pytest

from repo_tool.datatypes import DataType
from repo_tool.workflows.generate_clients import GenerateRequest, generate_clients
from support.command import repo_tool

LABELLED = """
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
"""


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


def test_labels_that_changed_make_a_file_stale_though_the_signature_is_the_same(tmp_path):
    folder = tmp_path / "models" / "told"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(LABELLED)
    (folder / "labels.txt").write_text("benign\nmalignant\n")
    clients = tmp_path / "clients.py"
    generate = ("client", "generate", "-r", tmp_path / "models", "-o", clients)
    assert repo_tool(*generate).returncode == 0
    assert repo_tool(*generate, "--check").returncode == 0
    (folder / "labels.txt").write_text("malignant\nbenign\n")
    done = repo_tool(*generate, "--check")
    assert done.returncode == 1
    assert '+ToldLabel = Literal["malignant", "benign"]' in done.stdout
    assert "digest" not in done.stdout


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, served_repository):
    clients, link = tmp_path / "clients.py", tmp_path / "link.py"
    generate = ("client", "generate", "wine", "-r", served_repository, "-o")
    clients.write_text("mine\n")
    clients.chmod(0o640)
    link.symlink_to(clients)
    done = repo_tool(*generate, link)
    assert (done.returncode, clients.read_text()) == (2, "mine\n")
    assert f"'{link}' is a link" in done.stderr
    held = clients.open()  # who reads the old file goes on to read it
    assert repo_tool(*generate, clients).returncode == 0
    with held:
        assert held.read() == "mine\n"
    assert "class Wine(" in clients.read_text()
    assert clients.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [clients, link]


def test_a_folder_that_is_not_there_is_named(tmp_path, served_repository):
    done = repo_tool("client", "generate", "wine", "-r", served_repository, "-o", tmp_path / "gone" / "clients.py")
    assert done.returncode == 2
    assert "gone/clients.py' cannot be written" in done.stderr


@pytest.mark.parametrize(("name", "language"), [("clients.ts", "python"), ("clients.py", "typescript")])
def test_a_file_named_like_one_of_another_language_is_refused(tmp_path, served_repository, name, language):
    clients = tmp_path / name
    done = repo_tool("client", "generate", "wine", "-r", served_repository, "-o", clients, "--language", language)
    assert done.returncode == 2
    assert "--language" in done.stderr
    assert not clients.exists()


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
