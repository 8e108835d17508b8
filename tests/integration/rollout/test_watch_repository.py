# SPDX-License-Identifier: Apache-2.0
"""A live server follows what is published, taken out and put right again, by itself."""

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repo_tool.errors import RepoToolError
from repo_tool.repository.labels import Labels, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import staging, withdraw
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows import watch_repository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.roll_back import RollBackRequest, roll_back
from repo_tool.workflows.serve_repository import RepositoryService, ServeRequest
from support.live_roll_outs import Live, live, publish_changed, publish_ensemble
from support.open_loop import OpenLoop, publish_versioned
from support.supervised_service import wait_for


def test_what_is_published_serves_and_what_is_bad_waits_for_better(served: Live) -> None:
    load = OpenLoop(f"grpc://{served.server.grpc_url}", "m", rate=50, seed=11)
    with served.following(label="stable") as (told, watcher), load:
        assert "'stable' is version 1" in told.until("rolled out", "m").words
        publish_versioned(served.repository, "m", 2)
        done = told.until("rolled out", "m", times=2)
        assert "version 2 serves, version 1 no longer, 'stable' is version 2" in done.words
        publish_changed(served.repository, "m", 3, files={"3/model.onnx": b"not a graph"})
        failed = told.until("failed", "m")
        assert "Protobuf parsing failed" in failed.words
        assert watcher.changes() == ("m",)
        assert Labels.of(served.repository).versions("m") == {"stable": 2}
        publish_versioned(served.repository, "m", 4)
        told.until("rolled out", "m", times=3)
        assert watcher.changes() == ()
        assert Labels.of(served.repository).versions("m") == {"stable": 4}
    assert [event.kind for event in told.events].count("failed") == 1
    assert not load.calls.failed
    assert load.calls.versions == {1, 2, 4}


def test_a_label_stays_where_a_person_lets_it_point(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)
    served.roll_out("m", label="stable")
    config = served.repository.model("m").config_path
    with served.following(label="stable") as (told, _):
        move(served.repository, "m", "stable", 1)
        config.write_text(config.read_text() + "# read by a person\n")
        told.until("rolled out", "m")
        assert Labels.of(served.repository).versions("m") == {"stable": 1}


def test_models_come_and_go_with_their_folders(served: Live) -> None:
    folder = served.repository.path
    with served.following() as (told, _):
        publish_versioned(served.repository, "other", 1)
        told.until("rolled out", "other")
        assert served.added("other") == 1
        folder.rename(folder.with_name("away"))
        time.sleep(0.6)  # two looks of the watcher find no repository
        folder.with_name("away").rename(folder)
        shutil.rmtree(served.repository.model("other").path)
        told.until("unloaded", "other")
        assert served.versions("other") == []
    assert served.versions("m") == [1]
    assert [(event.kind, event.model) for event in told.events if event.kind in ("failed", "unloaded")] == [
        ("unloaded", "other")
    ]


@pytest.mark.slow(reason="waits for a copy by hand, and for a model that never settles")
def test_a_copy_by_hand_is_served_once_it_is_whole_whatever_others_do(served: Live, tmp_path: Path) -> None:
    publish_versioned(served.repository, "odd", 1)
    source = ModelRepository(tmp_path / "source")
    for version in (1, 2):
        publish_versioned(source, "m", version)
    to, ending = served.repository.model("m"), threading.Event()

    def touch() -> None:
        while not ending.wait(0.03):
            os.utime(served.repository.model("odd").config_path)

    with served.following() as (told, watcher), ThreadPoolExecutor(1) as pool:
        touching = pool.submit(touch)
        try:
            shutil.copytree(source.model("m").path / "2", to.path / "2", ignore=lambda *_: ["model.onnx"])
            shutil.copy(source.model("m").config_path, to.config_path)
            assert "version 1 serves as before" in told.until("failed", "m").words
            shutil.copy(source.model("m").path / "2" / "model.onnx", to.path / "2")
            told.until("rolled out", "m")
        finally:
            ending.set()
        touching.result()
        told.until("rolled out", "odd")
        assert watcher.changes() == ()


@pytest.mark.slow(reason="a server of its own, and models to be refused")
def test_a_server_is_ready_again_once_nobody_wants_what_it_refused(repository: ModelRepository) -> None:
    publish_versioned(repository, "m", 1)
    good = repository.model("m").config_path.read_text()
    publish_changed(repository, "m", 2, files={"2/model.onnx": b"not a graph"})
    shutil.copytree(repository.model("m").path, repository.model("odd").path)
    odd = repository.model("odd").config_path
    odd.write_text(odd.read_text().replace('"m"', '"odd"'))
    with live(repository) as running, running.following() as (told, _):
        assert not running.server.is_ready()
        with staging(repository) as stage:
            withdraw(repository.model("odd"), stage)
        repository.model("m").config_path.write_text(
            good.replace("latest { num_versions: 1 }", "specific { versions: 1 }")
        )
        told.until("rolled out", "m")
        told.until("unloaded", "odd")
        assert running.becomes_ready()
        assert running.versions("m") == [1]


@pytest.mark.slow(reason="a server of its own")
@pytest.mark.parametrize("config", [b"\xff\xfe\x00", None], ids=["no text", "a folder"])
def test_an_odd_model_is_told_and_the_others_are_followed(served: Live, config: bytes | None) -> None:
    odd = served.repository.model("odd")
    with served.following() as (told, _):
        odd.version_path(1).mkdir(parents=True)
        if config is None:
            odd.config_path.mkdir()
        else:
            odd.config_path.write_bytes(config)
        told.until("failed", "odd")
        publish_versioned(served.repository, "m", 2)
        told.until("rolled out", "m")


@pytest.mark.slow(reason="a further server")
def test_a_pipeline_is_followed_as_one(served: Live) -> None:
    publish_ensemble(served.repository, "e", 1, member="m")
    served.roll_out("e")
    load = OpenLoop(f"grpc://{served.server.grpc_url}", "e", rate=50, seed=12)
    with load, served.following() as (told, _):
        publish_versioned(served.repository, "m", 2)
        told.until("failed", "m")  # alone it would take away what the pipeline asks for
        publish_ensemble(served.repository, "e", 2, member="m")
        assert told.until("rolled out", "e").outcome.models == ("m", "e")
        wait_for(lambda: 2 in load.calls.versions)
    assert not load.calls.failed
    assert load.calls.versions == {1, 2}


@pytest.mark.slow(reason="a server that starts twice")
def test_a_change_waits_for_a_server_that_is_away(repository: ModelRepository) -> None:
    publish_versioned(repository, "m", 1)
    with live(repository) as served, served.following() as (told, watcher):
        served.server.stop()
        publish_versioned(repository, "m", 2)
        told.until("failed", "m")
        assert watcher.changes() == ("m",)
        served.server.start()
        told.until("rolled out", "m")
        assert served.versions("m") == [2]


@pytest.mark.slow(reason="a Triton of its own proves what is gone back to")
@pytest.mark.slow(reason="the server has to be started twice")
def test_what_the_servers_end_has_cut_off_is_finished_as_soon_as_it_is_back(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_repository, "_FIRST_RETRY_S", 3600.0)  # it is not tried because it is its time
    publish_versioned(repository, "m", 1)
    options = ServerOptions(graceful_stop_s=0)
    request = ServeRequest(repository=repository.path, options=options, follow=True, label="stable")
    with RepositoryService(request, on_event=lambda _: None) as service:
        service.load(on_outcome=lambda _: None)
        publish_versioned(repository, "m", 2)
        wait_for(lambda: Labels.of(repository).versions("m").get("stable") == 2)
        os.kill(service.server.pid, signal.SIGKILL)
        wait_for(lambda: _ready_versions(service.server, "m") == ("2",))


def _ready_versions(server: EmbeddedServer, model: str) -> tuple[str, ...]:
    try:
        return server.ready_versions(model)
    except RepoToolError:  # between two servers
        return ()


def test_who_follows_a_label_is_answered_while_a_rollback_reaches_the_server(served: Live) -> None:
    served.roll_out("m", label="stable")
    folder = served.repository.path
    load = OpenLoop(f"grpc://{served.server.grpc_url}", "m", rate=30, seed=13, label="stable", labels=folder)
    with served.following(label="stable") as (told, _), load:
        publish_versioned(served.repository, "m", 2)
        told.until("rolled out", "m")
        roll_back(RollBackRequest(model="m", repository=folder), RecordedProgress())
        assert told.until("rolled out", "m", times=2).outcome.served == (1,)
        load.wait_for(5)
    assert not load.calls.failed
    assert load.calls.versions == {1, 2}


@pytest.mark.slow(reason="waits for what hangs")
def test_a_version_that_hangs_does_not_keep_the_watcher_from_stopping(served: Live) -> None:
    hangs = b"import time\nclass TritonPythonModel:\n    def initialize(self, args):\n        time.sleep(600)\n"
    with served.following() as (told, watcher):
        publish_versioned(served.repository, "p", 1, delay_s=0.001)
        told.until("rolled out", "p")
        publish_changed(served.repository, "p", 2, files={"2/model.py": hangs})
        trial = "repo-tool-trial-of-p"
        served.until_states(trial, {"2": "LOADING"})
        watcher.stop(patience_s=0.5)
        served.until_states(trial, {"2": "LOADING"})  # so it did not wait for its end
    assert "failed" not in [event.kind for event in told.events]
