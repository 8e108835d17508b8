# SPDX-License-Identifier: Apache-2.0
"""``repo-tool deploy`` to a server that somebody else started."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repo_client import Client
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.deploy import DeployRequest, deploy
from repo_tool.workflows.progress import RecordedProgress, Step
from support.command import repo_tool
from support.live_roll_outs import Live, publish_changed
from support.open_loop import publish_versioned
from support.own_triton import own_triton


def deployed(served: Live, *arguments: object, repository: Path | None = None) -> subprocess.CompletedProcess[str]:
    folder = repository or served.repository.path
    server = ("--server", f"grpc://{served.server.grpc_url}", "--header", key_of(served))
    return repo_tool("deploy", *arguments, "--repository", folder, *server, cwd=folder.parent)


def key_of(served: Live) -> str:
    ((name, key),) = served.server.control_headers.items()
    return f"{name}:{key}"


def test_models_are_deployed_and_each_that_is_not_is_named(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)
    publish_versioned(served.repository, "bad", 1)
    publish_changed(served.repository, "bad", 2, files={"2/model.onnx": b"not a graph"})
    done = deployed(served, "m", "bad", "--label", "stable", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert [(each["model"], each["served"], each["labelled"]) for each in told["deployed"]] == [("m", [2], 2)]
    assert "Protobuf parsing failed" in told["refused"]["bad"]["cause"]
    assert Labels.of(served.repository).by_model == {"m": {"stable": 2}}


class _Stopping(RecordedProgress):
    """Stops the server before the second model's files are checked."""

    def __init__(self, served: Live) -> None:
        super().__init__()
        self._served = served

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        with super().step(title) as step:
            if [each.title for each in self.steps].count("check the files") == 2:
                self._served.server.stop()
            yield step


@pytest.mark.slow(reason="a server of its own")
def test_what_was_deployed_is_told_when_the_server_goes_away(served: Live) -> None:
    for model, version in (("m", 2), ("a", 1), ("b", 1)):
        publish_versioned(served.repository, model, version)
    request = DeployRequest(
        models=("m", "a", "b"),
        repository=served.repository.path,
        server=f"grpc://{served.server.grpc_url}",
        headers=served.server.control_headers,
    )
    done = deploy(request, _Stopping(served))
    assert [each.model for each in done.done] == ["m"]
    assert list(done.refused) == ["a", "b"]


@pytest.mark.slow(reason="a server of its own")
def test_a_server_that_reads_another_repository_is_told_to(served: Live, tmp_path: Path) -> None:
    elsewhere = ModelRepository(tmp_path / "elsewhere")
    for version in (1, 2):
        publish_versioned(elsewhere, "m", version)
    publish_versioned(elsewhere, "unknown", 1)
    older = deployed(served, "m", repository=elsewhere.path)
    assert older.returncode == 1
    assert "the server has no version 2 of 'm'" in older.stderr
    assert "bring that to it with repo-tool push" in older.stderr
    assert served.versions("m") == [1]
    unknown = deployed(served, "unknown", repository=elsewhere.path)
    assert "the server's repository has no model 'unknown'" in unknown.stderr


@pytest.mark.slow(reason="a server of its own")
def test_over_http_the_key_of_the_server_is_asked_for_and_taken(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)
    url = f"http://{served.server.http_url}"
    folder = served.repository.path
    without = repo_tool("deploy", "m", "-r", folder, "--server", url, cwd=folder.parent)
    assert without.returncode == 1
    assert "--header-file FILE" in without.stderr
    file = folder.parent / "key"
    file.write_text(f"{key_of(served)}\n")
    done = repo_tool("deploy", "m", "-r", folder, "--server", url, "--header-file", file, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "'m' serves version 2, and version 1 no longer" in done.stdout


@pytest.mark.slow(reason="starts the command several times")
def test_mistakes_are_told_without_a_server(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "models")
    publish_versioned(repository, "m", 1)
    for arguments, words in (
        (("m", "--server", "grpc://127.0.0.1:9"), "no server"),
        (("absent",), "no model 'absent'"),
        (("m", "--header", "no-colon"), "--header is no name and value"),
        (("m", "--header-file", tmp_path / "absent"), "absent' cannot be read"),
        (("m", "--label", "Not a label"), "is not a label"),
    ):
        done = repo_tool("deploy", *arguments, "-r", repository.path, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr


@pytest.mark.slow(reason="servers of its own")
@pytest.mark.parametrize("mode", ["none", "poll"])
def test_a_server_that_does_not_load_on_request_is_named(repository: ModelRepository, mode: str) -> None:
    publish_versioned(repository, "m", 1)
    usual = ("--model-control-mode", "--http-restricted-api", "--grpc-restricted-protocol")
    with own_triton(repository.path, f"--model-control-mode={mode}", without=usual) as (grpc, _):
        with Client(f"grpc://{grpc}") as client:
            client.admin.wait_until_model_ready("m", 20)
        done = repo_tool("deploy", "m", "-r", repository.path, "--server", f"grpc://{grpc}", cwd=repository.path.parent)
    assert done.returncode == 1
    assert "--model-control-mode=explicit" in done.stderr
    assert "it runs with --model-control-mode=none or poll" in done.stderr
    assert "version 1 serves as before" in done.stderr
