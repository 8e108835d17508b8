# SPDX-License-Identifier: Apache-2.0
"""Versions by their labels: listed, promoted, rolled back, removed and pruned, and the journal tells of it."""

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from repo_client import Client
from repo_tool.errors import ParityError, RepositoryError
from repo_tool.repository.integrity import problems
from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import Labels, labels_path, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.locks import publishing
from repo_tool.repository.provenance import digest_of
from repo_tool.repository.staging import staging_path
from repo_tool.repository.stamps import due_stamps, restamped, stamps_of
from repo_tool.samples import Sample, read_published_sample, write_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.promote_version import PromoteRequest, drop_label, promote_version
from repo_tool.workflows.remove_versions import prune_versions, remove_model, remove_version
from repo_tool.workflows.roll_back import RollBackRequest, roll_back
from support.command import everything_in, repo_tool
from support.open_loop import publish_versioned


@pytest.fixture
def repository(tmp_path):
    """A repository with versions 1, 2 and 3 of `churn`, of which 3 is served."""
    made = ModelRepository(tmp_path / "models")
    for version in (1, 2, 3):
        assert publish_versioned(made, "churn", version) == version
    return made


def promote(repository, label, version=""):
    request = PromoteRequest(model="churn", label=label, version=version, repository=repository.path)
    return promote_version(request, RecordedProgress())


def policy(repository):
    return repository.model("churn").read_config().version_policy.specific


def told(repository):
    return [(each.action, each.version, dict(each.details)) for each in Journal(repository).entries()]


def test_versions_tells_what_is_served_and_labelled(repository):
    assert promote(repository, "stable").version == 3
    listed = repo_tool("versions", "churn", "-r", repository.path, "--json")
    assert listed.returncode == 0, listed.stderr
    versions = json.loads(listed.stdout)["versions"]
    assert [(each["version"], each["loaded"], each["labels"]) for each in versions] == [
        (3, True, ["stable"]),
        (2, False, []),
        (1, False, []),
    ]
    assert all(each["published"] and each["by"] and each["digest"] for each in versions)
    shown = repo_tool("versions", "churn", "-r", repository.path)
    assert "stable" in shown.stdout


@pytest.mark.slow(reason="three commands")
def test_a_label_moves_by_a_command_and_comes_off(repository):
    done = repo_tool("promote", "churn", "--label", "stable", "-r", repository.path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 3
    second = repo_tool("promote", "churn", "--label", "canary", "--version", "stable", "-r", repository.path)
    assert second.returncode == 0, second.stderr
    assert Labels.of(repository).versions("churn") == {"stable": 3, "canary": 3}
    dropped = repo_tool("promote", "churn", "--label", "canary", "--drop", "-r", repository.path)
    assert "points nowhere now (before: version 3)" in dropped.stdout
    assert Labels.of(repository).versions("churn") == {"stable": 3}
    assert [each for each in told(repository) if each[0] == "label"] == [
        ("label", 3, {"label": "stable", "before": None}),
        ("label", 3, {"label": "canary", "before": None}),
        ("label", None, {"label": "canary", "before": 3}),
    ]


@pytest.mark.parametrize("label", ["", "3", "Stable", "a b", "-x", "../x", "x" * 65])
def test_a_name_that_is_no_label_is_refused(repository, label):
    with pytest.raises(RepositoryError, match="is not a label"):
        move(repository, "churn", label, 3)
    assert not labels_path(repository).exists()


def test_a_label_that_is_not_there_is_refused(repository):
    with pytest.raises(RepositoryError, match="has no label 'canary'"):
        drop_label(repository, "churn", "canary")
    with pytest.raises(RepositoryError, match="has no label 'canary'"):
        promote(repository, "stable", "canary")
    with pytest.raises(RepositoryError, match="no version 9"):
        promote(repository, "stable", "9")


def test_labels_that_do_not_read_change_nothing(repository):
    promote(repository, "stable")
    labels_path(repository).write_text('{"schema": 1, "labels": {"churn": {"stable": "3"}}}')
    for change in (lambda: promote(repository, "stable"), lambda: prune_versions(repository, keep=1)):
        with pytest.raises(RepositoryError, match="cannot be read"):
            change()
    assert repository.model("churn").versions() == (1, 2, 3)


def test_a_version_that_is_not_loaded_has_to_answer_first(repository):
    promote(repository, "stable")
    done = promote(repository, "canary", "2")
    assert (done.was_loaded, done.newest) == (False, 3)
    assert policy(repository) == (2, 3)
    model = repository.model("churn")
    assert stamps_of(model.read_config()) == due_stamps(model, model.read_config())
    assert Labels.of(repository).versions("churn") == {"stable": 3, "canary": 2}


def test_a_version_that_no_longer_answers_so_gets_no_label(repository):
    model = repository.model("churn")
    sample = read_published_sample(model.sample_path(2))
    write_published_sample(model.sample_path(2), Sample(inputs=sample.inputs, outputs={"y": sample.inputs["x"]}))
    facts = json.loads(model.provenance_path(2).read_text())
    facts["files"]["sample.npz"] = digest_of(model.sample_path(2))
    model.provenance_path(2).write_text(json.dumps(facts))
    before = everything_in(repository.path)
    with pytest.raises(ParityError):
        promote(repository, "canary", "2")
    assert everything_in(repository.path) == before
    assert not labels_path(repository).exists()


@pytest.mark.slow(reason="two promotions, two ways back, and a server to ask")
def test_back_with_the_labels_of_what_was_newer(repository):
    for label in ("stable", "canary"):
        promote(repository, label)
    done = repo_tool("rollback", "churn", "--to", "1", "-r", repository.path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == {"stable": 3, "canary": 3}
    assert policy(repository) == (1,)
    assert Labels.of(repository).versions("churn") == {"stable": 1, "canary": 1}
    assert told(repository)[-3:] == [
        ("roll back", 1, {"before": 3}),
        ("label", 1, {"label": "canary", "before": 3}),
        ("label", 1, {"label": "stable", "before": 3}),
    ]
    # Version 3 stays on disk, so that the next one is 4; forward again leaves the labels with version 1.
    forward = roll_back(RollBackRequest(model="churn", version=3, repository=repository.path), RecordedProgress())
    assert (forward.before, forward.labels) == (1, {})
    assert policy(repository) == (1, 3)
    with EmbeddedServer(repository.path, ServerOptions()) as server:
        server.load("churn")
        with Client(f"grpc://{server.grpc_url}", labels=repository.path) as client:
            zeros = {"x": np.zeros((1, 4), dtype=np.float32)}
            assert client.model("churn").infer(zeros)["y"].tolist() == [[3.0] * 4]
            assert client.model("churn", label="stable").infer(zeros)["y"].tolist() == [[1.0] * 4]


def test_a_variant_goes_back_with_its_version(repository):
    model = repository.model("churn")
    model.variants_path.mkdir()
    for version, instances in ((1, 2), (3, 4)):
        text = model.config_path.read_text().replace("count: 1", f"count: {instances}")
        model.variant_path("gpu").write_text(text)
        facts = json.loads(model.provenance_path(version).read_text())
        model.provenance_path(version).write_text(json.dumps(facts | {"configs": {"gpu": text}}))
    model.config_path.write_text(restamped(model.config_path.read_text(), model))
    roll_back(RollBackRequest(model="churn", version=1, repository=repository.path), RecordedProgress())
    gpu = model.read_config("gpu")
    assert (gpu.instance_groups[0].count, gpu.version_policy.specific) == (2, (1,))
    assert stamps_of(gpu) == due_stamps(model, gpu)


@pytest.mark.slow(reason="three commands")
def test_a_version_that_answers_already_changes_nothing(repository):
    move(repository, "churn", "stable", 3)
    before = everything_in(repository.path.parent)
    for to in ("3", "stable"):
        done = repo_tool("rollback", "churn", "--to", to, "-r", repository.path)
        assert (done.returncode, "answers with version 3 already" in done.stdout) == (0, True), done.stderr
    unknown = repo_tool("rollback", "churn", "--to", "canary", "-r", repository.path)
    assert "its labels are stable" in unknown.stderr
    assert everything_in(repository.path.parent) == before


def test_labels_that_move_at_once_are_all_where_they_should_be(repository):
    """Each from a thread of its own, and none undoes what another one did meanwhile."""
    words = [f"label-{number}" for number in range(6)]

    def set_all(label):
        for version in (1, 2, 3):
            move(repository, "churn", label, version)

    with ThreadPoolExecutor(max_workers=len(words)) as threads:
        for done in [threads.submit(set_all, label) for label in words]:
            done.result()
    assert Labels.of(repository).versions("churn") == dict.fromkeys(words, 3)
    moved = [(details["label"], version) for action, version, details in told(repository) if action == "label"]
    assert sorted(moved) == [(label, version) for label in words for version in (1, 2, 3)]


def test_a_version_that_is_damaged_does_not_answer_again(repository):
    with (repository.model("churn").version_path(2) / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    before = everything_in(repository.path)
    with pytest.raises(RepositoryError, match="not as it was published"):
        roll_back(RollBackRequest(model="churn", repository=repository.path), RecordedProgress())
    assert everything_in(repository.path) == before


def test_only_what_nobody_needs_is_removed(repository):
    served = repo_tool("remove", "churn", "--version", "3", "-r", repository.path)
    assert served.returncode == 2
    assert "config.pbtxt loads it" in served.stderr
    assert "repo-tool rollback churn --to 2" in served.stderr
    move(repository, "churn", "old", 2)
    with pytest.raises(RepositoryError, match="version 2 of 'churn' is needed") as refused:
        remove_version(repository, "churn", 2)
    assert refused.value.cause == "it is labelled 'old'"
    untouched = {path: path.stat().st_mtime_ns for path in repository.model("churn").version_path(3).rglob("*")}
    removed = repo_tool("remove", "churn", "--version", "1", "-r", repository.path)
    assert removed.returncode == 0, removed.stderr
    assert repository.model("churn").versions() == (2, 3)
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert not any(problems(repository.model("churn"), version) for version in (2, 3))
    assert told(repository)[-1] == ("remove", 1, {})
    assert len(list((repository.private_path / "withdrawn").glob("*/churn/1/model.onnx"))) == 1


def test_a_version_that_is_still_loaded_is_told_how_to_go(repository):
    promote(repository, "canary", "2")
    move(repository, "churn", "canary", None)
    assert prune_versions(repository, keep=1, dry_run=True)[0].kept[2] == "config.pbtxt loads it"
    with pytest.raises(RepositoryError) as refused:
        remove_version(repository, "churn", 2)
    arguments = shlex.split(refused.value.next_step.partition(": repo-tool ")[2])
    done = repo_tool(*arguments, "-r", repository.path)
    assert (policy(repository), done.returncode) == ((3,), 0), done.stderr
    assert remove_version(repository, "churn", 2).versions == (2,)


def test_a_number_that_was_removed_is_not_given_again(repository):
    """The newest goes after a roll-back, and the next one to be published is newer still."""
    roll_back(RollBackRequest(model="churn", repository=repository.path), RecordedProgress())
    remove_version(repository, "churn", 3)
    assert repository.model("churn").versions() == (1, 2)
    with pytest.raises(RepositoryError, match="has no version 3"):
        roll_back(RollBackRequest(model="churn", version=3, repository=repository.path), RecordedProgress())
    assert publish_versioned(repository, "churn", 4) == 4


def test_a_model_goes_whole_once_no_label_points_at_it(repository):
    move(repository, "churn", "stable", 3)
    with pytest.raises(RepositoryError, match="'churn' is needed"):
        remove_model(repository, "churn")
    move(repository, "churn", "stable", None)
    done = repo_tool("remove", "churn", "-r", repository.path)
    assert done.returncode == 0, done.stderr
    assert list(repository.models()) == []
    assert told(repository)[-1][:2] == ("remove", 3)


def test_a_model_that_gets_a_label_meanwhile_stays(repository):
    """The label moves while the removal waits for the lock."""
    with ThreadPoolExecutor(max_workers=1) as threads:
        with publishing(repository):
            removal = threads.submit(remove_model, repository, "churn")
            deadline = time.monotonic() + 20
            while not any(staging_path(repository).glob("*/work")) and time.monotonic() < deadline:
                time.sleep(0.01)  # until it has only the lock to wait for
            labels_path(repository).write_text('{"schema": 1, "labels": {"churn": {"stable": 3}}}')
        with pytest.raises(RepositoryError, match="'churn' is needed"):
            removal.result(timeout=30)
    assert repository.model("churn").versions() == (1, 2, 3)


def test_pruning_keeps_the_newest_and_what_is_needed(repository):
    for version in (4, 5):
        publish_versioned(repository, "churn", version)
    move(repository, "churn", "stable", 2)
    planned = repo_tool("prune", "--keep", "2", "--dry-run", "-r", repository.path)
    assert "churn would lose 1, 3" in planned.stdout
    assert "churn keeps 2: it is labelled 'stable'" in planned.stdout
    assert repository.model("churn").versions() == (1, 2, 3, 4, 5)
    pruned = repo_tool("prune", "--keep", "2", "-r", repository.path, "--json")
    assert json.loads(pruned.stdout)["models"][0]["removed"] == [1, 3]
    assert json.loads(pruned.stdout)["models"][0]["kept"][-1] == {"version": 5, "reason": "one of the newest"}
    assert repository.model("churn").versions() == (2, 4, 5)
    assert prune_versions(repository, keep=2)[0].removed == ()


def kept(repository):
    """The versions of all copies that are kept, by their paths in them."""
    return sorted(path.parent.relative_to(path.parents[2]).as_posix() for path in withdrawn(repository, "*/*/*/*.onnx"))


def withdrawn(repository, pattern):
    return list((repository.private_path / "withdrawn").glob(pattern))


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_not_to_be_kept_is_gone_at_once_and_the_room_is_told(repository):
    remove_version(repository, "churn", 1)
    assert kept(repository) == ["churn/1", "churn/2", "churn/3"]  # of which two are second names only
    room = size_of(repository.model("churn").version_path(2))
    removed = repo_tool("remove", "churn", "--version", "2", "--now", "-r", repository.path, "--json")
    assert removed.returncode == 0, removed.stderr
    assert json.loads(removed.stdout)["freed_bytes"] == room
    assert kept(repository) == ["churn/1", "churn/3", "churn/3"]
    assert not problems(repository.model("churn"), 3)
    told_so = repo_tool("remove", "churn", "--now", "-r", repository.path)
    assert (told_so.returncode, "nothing of it is kept" in told_so.stdout) == (0, True), told_so.stderr
    assert not (repository.private_path / "withdrawn").exists()


def test_pruning_now_deletes_also_what_is_kept_from_before_and_no_other_model(repository):
    for version in (1, 2):
        publish_versioned(repository, "wine", version)
    room = sum(size_of(repository.model("churn").version_path(version)) for version in (1, 2))
    prune_versions(repository, keep=1)
    shown = repo_tool("prune", "churn", "--keep", "1", "--now", "--dry-run", "-r", repository.path)
    assert (shown.returncode, "churn/1" in kept(repository)) == (0, True), shown.stderr
    pruned = repo_tool("prune", "churn", "--keep", "1", "--now", "-r", repository.path, "--json")
    assert json.loads(pruned.stdout)["freed_bytes"] == room
    assert kept(repository) == ["wine/1", "wine/2"]
    assert repository.model("churn").versions() == (3,)
    assert fsck_repository(FsckRequest(repository=repository.path), RecordedProgress()).findings == ()


def test_a_repository_after_all_of_it_is_whole(repository):
    promote(repository, "stable")
    remove_version(repository, "churn", 1)
    prune_versions(repository, keep=1)
    assert not fsck_repository(FsckRequest(repository=repository.path), RecordedProgress()).findings
