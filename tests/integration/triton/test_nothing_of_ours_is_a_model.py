# SPDX-License-Identifier: Apache-2.0
"""Whatever repo-tool keeps in and beside a repository, Triton takes none of it for a model, in any of its modes."""

import json
import time
from urllib.request import Request, urlopen

import pytest

from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging, withdraw
from repo_tool.repository.stamps import provenance_digest
from support.open_loop import publish_versioned, versioned_model
from support.own_triton import own_triton

KEYS = ("--http-restricted-api", "--grpc-restricted-protocol")
MODE = "--model-control-mode"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """With all that commands leave: versions, labels, a withdrawn model, a staging that a crash has left."""
    repository = ModelRepository(tmp_path_factory.mktemp("all") / "models")
    for version in (1, 2, 3):
        publish_versioned(repository, "m", version)
    publish_versioned(repository, "gone", 1)
    with staging(repository) as stage:
        withdraw(repository.model("gone"), stage)
        directory = stage.repository.model("m")
        directory.path.mkdir()
        directory.config_path.write_bytes(repository.model("m").config_path.read_bytes())
        publish([StagedModel(directory=directory, removed=(2,))], repository)
    move(repository, "m", "stable", 1)
    left = repository.private_path / "staging" / "1-dead" / "repository"
    left.mkdir(parents=True)
    versioned_model(left, "half", 1)
    (repository.path / "README.md").write_text("of a person")
    return repository


def asked(url, path, **request):
    with urlopen(Request(f"http://{url}/v2/{path}", **request), timeout=10) as answer:
        return json.loads(answer.read() or "{}")


def index_of(url):
    return {(each["name"], each.get("version"), each.get("state")) for each in asked(url, "repository/index", data=b"")}


def test_our_folder_holds_all_that_there_is(repository):
    there = {path.name for path in repository.private_path.iterdir()}
    assert there == {"journal.jsonl", "labels.json", "locks", "staging", "withdrawn"}


@pytest.mark.parametrize("mode", ["none", "poll", "explicit"])
def test_triton_sees_the_models_and_nothing_else(repository, mode):
    start = {"none": [], "poll": ["--repository-poll-secs=1"], "explicit": ["--load-model=*"]}[mode]
    with own_triton(repository.path, f"{MODE}={mode}", *start, without=(MODE, *KEYS)) as (_, url):
        wait_until(lambda: ("m", "3", "READY") in index_of(url))
        assert index_of(url) == {("m", "3", "READY")}
        stamps = asked(url, "models/m/config")["parameters"]
        assert stamps["provenance.3"] == {"string_value": provenance_digest(repository.model("m"), 3)}


def test_in_poll_mode_a_version_comes_without_a_moment_without_any(tmp_path):
    """Triton unloads a model whose folder it does not find once."""
    repository = ModelRepository(tmp_path / "models")
    publish_versioned(repository, "m", 1)
    how = (f"{MODE}=poll", "--repository-poll-secs=1")
    with own_triton(repository.path, *how, without=(MODE, *KEYS)) as (_, url):
        wait_until(lambda: ("m", "1", "READY") in index_of(url))
        publish_versioned(repository, "m", 2)
        wait_until(lambda: ("m", "2", "READY") in index_of(url) or not is_ready(url))
        assert is_ready(url)


def is_ready(url):
    return any(state == "READY" for _, _, state in index_of(url))


def wait_until(is_so, *, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)  # between two looks of a poll with a deadline
