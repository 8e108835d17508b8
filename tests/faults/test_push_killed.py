# SPDX-License-Identifier: Apache-2.0
"""kill -9 of ``repo-tool push`` at any moment: whoever pulls gets what was there, or what came, and nothing between."""

import logging
import random
import shutil
import subprocess
import time
from contextlib import suppress

import pytest

from repo_tool.config import pbtxt
from repo_tool.config.served_versions import served_versions
from repo_tool.remotes.base import open_remote
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.pull_models import PullRequest, pull
from support.command import REPO_TOOL, environment, everything_in
from support.faulty_disk import build_library, run_on_faulty_disk
from support.object_store import CREDENTIALS, new_bucket, object_store
from support.open_loop import publish_versioned
from support.unsynced import Cache

pytestmark = pytest.mark.faults


@pytest.fixture
def store(monkeypatch):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with object_store() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield f"s3://{new_bucket(url)[0]}/models"


def start_push(repository, address):
    command = [REPO_TOOL, "push", address, "-r", repository.path, "--json"]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(push):
    said = push.communicate(timeout=120)[1]
    assert push.returncode == 0, said.decode()


def pulled(address, folder):
    """What a new repository holds that gets everything."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    pull(PullRequest(repository=folder, remote=address), RecordedProgress())
    return everything_in(folder)


def is_servable(address):
    """Whether the configuration that Triton reads there loads only versions that are there whole."""
    target = RemoteRepository(open_remote(address))
    model = target.manifest().models["m"]
    config = pbtxt.parse(target.remote.read(target.file("m", "config.pbtxt")).content.decode())
    places = set(target.remote.places("models/m"))
    there = sorted({int(place.split("/")[2]) for place in places if place.split("/")[2].isdecimal()})
    served = served_versions(config.version_policy, there)
    whole = [version for version in model.versions if files_of(target, model, version) <= places]
    return set(served) <= set(whole)


def is_labelled_as_published(address, repository):
    """Whether the labels that Triton reads there belong to a version that has come whole."""
    remote = open_remote(address)
    version = int(remote.read("models/m/labels.txt").content)
    folder = repository.model("m").version_path(version)
    return {f"models/m/{version}/{path.name}" for path in folder.iterdir()} <= set(remote.places("models/m"))


def publish_labelled(repository, version, **options):
    publish_versioned(repository, "m", version, **options)
    (repository.model("m").path / "labels.txt").write_text(f"{version}\n")


def files_of(target, model, version):
    return {target.file("m", path) for path in model.files if path.startswith(f"{version}/")}


def test_a_push_that_is_killed_leaves_the_old_or_the_new(store, tmp_path, scale, seed, figures):
    draw = random.Random(seed)  # noqa: S311 - drawn again with the seed
    here = ModelRepository(tmp_path / "here" / "models")
    publish_labelled(here, 1)
    started = time.monotonic()
    finish(start_push(here, store))
    takes_s = time.monotonic() - started
    outcomes = {"old": 0, "new": 0, "neither": 0, "half served": 0, "labelled too early": 0}
    kills = scale(3, 25)
    for version in range(2, kills + 2):
        old = pulled(store, tmp_path / "there" / "models")
        publish_labelled(here, version, padding_bytes=draw.choice((0, 4 << 20)))
        new = everything_in(here.path)
        push = start_push(here, store)
        with suppress(subprocess.TimeoutExpired):  # it may be done before
            push.wait(draw.uniform(0.25, 0.95) * takes_s)
        push.kill()
        push.communicate()
        seen = pulled(store, tmp_path / "there" / "models")
        outcomes["old" if seen == old else "new" if seen == new else "neither"] += 1
        outcomes["half served"] += not is_servable(store)
        outcomes["labelled too early"] += not is_labelled_as_published(store, here)
        finish(start_push(here, store))
        assert pulled(store, tmp_path / "there" / "models") == new
    passed = outcomes["neither"] == outcomes["half served"] == outcomes["labelled too early"] == 0
    figures.record(row="push_killed", measured={"kills": kills, **outcomes}, passed=passed, seed=seed)
    assert passed, outcomes


def test_what_a_push_has_brought_to_a_folder_is_on_the_disk(tmp_path):
    here, root, room = (tmp_path.resolve() / name for name in ("here", "mounted", "room"))
    for folder in (root, room):
        folder.mkdir()
    publish_versioned(ModelRepository(here), "m", 1)
    command = [REPO_TOOL, "push", root / "team" / "models", "-r", here]
    run = run_on_faulty_disk(command, build_library(tmp_path), root=root, room=room, environment=environment())
    assert run.exit_code == 0, run.words
    cache, beside = Cache(), root / "team" / ".models.repo-tool"
    for touch in run.touches:
        if touch.worked:
            cache.meet(touch)
    assert beside / "manifest.json" in cache.known
    assert cache.unsynced <= {beside / "incoming", beside / "manifest.json.lock"}  # which nobody reads
