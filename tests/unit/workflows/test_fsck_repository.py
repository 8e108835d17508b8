# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a repository is found where it is, and mended where nothing of a person's is lost."""

import fcntl
import json
import shutil

import pytest

from repo_tool.config.edit import set_field
from repo_tool.errors import RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import Labels, labels_path, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digests_of, shared_digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, next_version, publish, staging
from repo_tool.repository.stamps import restamped, unstamped
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.read_history import read_history
from support.command import everything_in, repo_tool

CONFIG = 'name: "{name}"\nbackend: "onnxruntime"\nversion_policy {{ {policy} }}\n'


@pytest.fixture
def repository(tmp_path):
    """A model ``churn`` with two versions that are loaded."""
    repository = ModelRepository(tmp_path / "models")
    for version in (1, 2):
        publish_version(repository, "churn", version)
    return repository


def publish_version(repository, name, version, *, policy="all { }", more=""):
    with staging(repository) as stage:
        directory = stage.repository.model(name)
        folder = directory.version_path(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(f"{name} {version}")
        write_provenance(directory.provenance_path(version), {"model": name, "files": digests_of(folder)})
        directory.config_path.write_text(CONFIG.format(name=name, policy=policy) + more)
        publish([StagedModel(directory=directory, version=version)], repository)


def fsck(repository, *, repair=False, models=()):
    request = FsckRequest(repository=repository.path, models=models, repair=repair)
    return fsck_repository(request, RecordedProgress())


def kinds(findings):
    return [finding.kind for finding in findings]


def names(repository, findings):
    return [f"{finding.kind} {finding.path.relative_to(repository.path)}" for finding in findings]


def require_mended(repository, kind):
    """It is found, found again when nothing was mended, mended, and gone."""
    assert kinds(fsck(repository).findings) == [kind]
    mended = fsck(repository, repair=True)
    assert (kinds(mended.repaired), mended.findings) == ([kind], ())
    assert fsck(repository).clean


def test_a_published_repository_is_clean_and_looking_changes_nothing(repository):
    before = everything_in(repository.path.parent)
    checked = fsck(repository)
    assert checked.clean
    assert (checked.models, checked.versions) == (1, 2)
    assert everything_in(repository.path.parent) == before


def test_a_repository_from_git_has_nothing_beside_it_and_is_clean(repository):
    shutil.rmtree(repository.private_path)
    assert fsck(repository).clean
    assert not repository.private_path.exists()


def test_files_that_are_not_as_published_are_named_and_left_alone(repository):
    folder = repository.path / "churn"
    (folder / "1" / "model.onnx").write_text("churn 9")
    (folder / "2" / "model.onnx").unlink()
    (folder / "2" / "weights.bin").write_text("a person's")
    before = everything_in(repository.path)
    checked = fsck(repository, repair=True)
    assert names(repository, checked.findings) == [
        "changed churn/1/model.onnx",
        "missing churn/2/model.onnx",
        "added churn/2/weights.bin",
    ]
    assert everything_in(repository.path) == before


def test_a_pointer_of_git_lfs_says_so(repository):
    path = repository.path / "churn" / "1" / "model.onnx"
    recorded = json.loads((path.parent / "provenance.json").read_text())["files"]["model.onnx"]
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid {recorded}\nsize 7\n")
    [finding] = fsck(repository).findings
    assert "git lfs pull" in finding.words


def test_a_damaged_provenance_is_named_also_by_what_was_stamped_and_noted(repository):
    (repository.path / "churn" / "2" / "provenance.json").write_text("{")
    found = names(repository, fsck(repository).findings)
    assert found == ["damaged churn/2/provenance.json", "stamp churn/config.pbtxt", "changed churn/2/provenance.json"]


def test_a_provenance_that_is_gone_is_missed(repository):
    (repository.path / "churn" / "2" / "provenance.json").unlink()
    assert names(repository, fsck(repository).findings) == ["missing churn/2/provenance.json"]


def test_a_configuration_without_stamps_is_stamped(repository):
    path = repository.path / "churn" / "config.pbtxt"
    stamped = path.read_text()
    path.write_text(CONFIG.format(name="churn", policy="all { }"))
    require_mended(repository, "unstamped")
    assert path.read_text() == stamped


def test_what_a_killed_command_left_goes_and_that_of_a_living_one_stays(repository):
    root = repository.private_path / "staging"
    for name in ("1-dead", "2-alive"):
        (root / name).mkdir(parents=True)
        (root / f"{name}.lock").touch()
    with (root / "2-alive.lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        require_mended(repository, "left over")
        assert sorted(path.name for path in root.iterdir()) == ["2-alive", "2-alive.lock"]


def test_a_version_that_somebody_removed_by_hand_is_missed_once(repository):
    shutil.rmtree(repository.path / "churn" / "2")
    require_mended(repository, "gone")
    assert next_version(repository.model("churn")) == 3


def test_a_whole_model_that_somebody_removed_by_hand_is_missed(repository):
    shutil.rmtree(repository.path / "churn")
    assert kinds(fsck(repository).findings) == ["gone", "gone"]
    assert fsck(repository, repair=True).clean


def test_a_version_that_nobody_published_is_noted(repository):
    (repository.path / "churn" / "7").mkdir()
    require_mended(repository, "unrecorded")
    shutil.rmtree(repository.path / "churn" / "7")
    assert next_version(repository.model("churn")) == 8


def test_a_cut_off_line_of_the_journal_goes_and_a_damaged_one_is_told(repository):
    journal = Journal(repository).path
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:20])
    require_mended(repository, "journal")
    assert journal.read_bytes() == whole
    journal.write_bytes(b"no entry\n" + whole)
    assert [finding.words for finding in fsck(repository, repair=True).findings] == ["line 1 is no entry"]


def test_a_label_that_points_nowhere_goes(repository):
    move(repository, "churn", "canary", 2)
    move(repository, "churn", "stable", 1)
    shutil.rmtree(repository.path / "churn" / "2")
    assert kinds(fsck(repository).findings) == ["gone", "label"]
    assert fsck(repository, repair=True).clean
    assert Labels.of(repository).versions("churn") == {"stable": 1}


def test_a_labelled_version_that_is_not_loaded_is_told(repository):
    publish_version(repository, "churn", 3, policy="latest { num_versions: 1 }")
    move(repository, "churn", "stable", 1)
    [finding] = fsck(repository, repair=True).findings
    assert "which config.pbtxt does not load" in finding.words


def test_labels_that_do_not_read_are_told(repository):
    labels_path(repository).write_text("{")
    assert kinds(fsck(repository, repair=True).findings) == ["labels"]


def test_a_pipeline_whose_step_is_gone_is_told(repository):
    step = 'ensemble_scheduling {{ step [ {{ model_name: "churn" model_version: {version} }} ] }}\n'
    publish_version(repository, "good", 1, more=step.format(version=2))
    publish_version(repository, "bad", 1, more=step.format(version=9))
    [finding] = fsck(repository).findings
    assert (finding.kind, finding.model) == ("pin", "bad")
    publish_version(repository, "churn", 3, policy="latest { num_versions: 1 }")
    found = {finding.model: finding.words for finding in fsck(repository).findings}
    assert found["good"] == "asks for version 2 of 'churn', which config.pbtxt does not load"


def test_what_everybody_may_write_is_told_and_closed(repository):
    path = repository.path / "churn" / "1" / "model.onnx"
    path.chmod(0o666)
    require_mended(repository, "permissions")
    assert path.stat().st_mode & 0o777 == 0o664


def test_one_model_alone_is_looked_at(repository):
    publish_version(repository, "wine", 1)
    (repository.path / "churn" / "1" / "model.onnx").write_text("churn 9")
    assert fsck(repository, models=("wine",)).clean
    with pytest.raises(RepositoryError, match="no model 'wines'"):
        fsck(repository, models=("wines",))


def test_the_history_tells_who_did_what_in_their_order(repository):
    move(repository, "churn", "stable", 1)
    publish_version(repository, "wine", 1)
    told = read_history(repository.path, "churn").entries
    assert [(entry.action, entry.version) for entry in told] == [("publish", 1), ("publish", 2), ("label", 1)]
    shutil.rmtree(repository.path / "churn")
    assert read_history(repository.path, "churn").entries == told
    with pytest.raises(RepositoryError, match="its journal knows none"):
        read_history(repository.path, "chrun")


def test_the_commands_speak_to_people_and_to_programs(repository):
    (repository.path / "churn" / "2" / "model.onnx").write_text("churn 9")
    shown = repo_tool("fsck", "--repository", repository.path)
    assert shown.returncode == 1
    assert "model.onnx: is not what was published" in shown.stdout
    assert "1 model, 2 versions: 1 finding" in shown.stdout
    told = json.loads(repo_tool("fsck", "--json", "--repository", repository.path).stdout)
    assert (told["clean"], told["findings"][0]["kind"]) == (False, "changed")
    history = repo_tool("history", "--repository", repository.path, "--limit", "1")
    assert history.returncode == 0
    assert "publish" in history.stdout
    assert "1 change, the newest of 2" in history.stdout
    entries = json.loads(repo_tool("history", "churn", "--json", "-r", repository.path).stdout)["entries"]
    assert [entry["version"] for entry in entries] == [1, 2]


def record_all(repository, name, version):
    """Write down of a version what add-model does: the configuration, and what all versions share."""
    model = repository.model(name)
    facts = json.loads(model.provenance_path(version).read_text())
    facts |= {"config": unstamped(model.config_path.read_text()), "overrides": {"max_batch_size": "4"}}
    write_provenance(model.provenance_path(version), facts | {"shared_files": shared_digests_of(model.path)})
    text = set_field(model.config_path.read_text(), "max_batch_size", "4")
    model.config_path.write_text(restamped(text, model))
    Journal(repository).path.unlink()  # which tells the digests that were
    assert fsck(repository).findings == ()


def test_what_a_server_reads_beside_the_versions_is_compared_too(repository):
    folder = repository.path / "churn"
    (folder / "warmup").mkdir()
    (folder / "warmup" / "features").write_text("0")
    (folder / "labels.txt").write_text("no\nyes\n")
    record_all(repository, "churn", 2)
    (folder / "notes.txt").write_text("a person's")
    assert fsck(repository).findings == ()
    (folder / "warmup" / "features").write_text("1")
    (folder / "warmup" / "more").write_text("1")
    (folder / "labels.txt").unlink()
    found = names(repository, fsck(repository).findings)
    assert found == ["missing churn/labels.txt", "changed churn/warmup/features", "added churn/warmup/more"]


def test_a_configuration_that_was_edited_is_told_and_is_no_damage(repository):
    record_all(repository, "churn", 2)
    path = repository.path / "churn" / "config.pbtxt"
    path.write_text("# a remark\n" + path.read_text().replace("all { }", "specific { versions: [1] }"))
    fsck(repository, repair=True)
    assert fsck(repository).findings == ()
    path.write_text(set_field(path.read_text(), "max_batch_size", "8"))
    checked = fsck(repository)
    assert names(repository, checked.findings) == ["edited churn/config.pbtxt"]
    assert "another max_batch_size than was published" in checked.findings[0].words
    assert checked.clean
    told = repo_tool("fsck", "-r", repository.path)
    assert (told.returncode, "1 warning" in told.stdout) == (0, True)


def test_a_configuration_that_no_server_can_read_is_damage(repository):
    path = repository.path / "churn" / "config.pbtxt"
    path.write_text("max_batch_size: what")
    assert names(repository, fsck(repository).findings) == ["damaged churn/config.pbtxt"]
    path.unlink()
    checked = fsck(repository)
    assert names(repository, checked.findings) == ["missing churn/config.pbtxt"]
    assert not checked.clean
