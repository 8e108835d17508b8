# SPDX-License-Identifier: Apache-2.0
"""A version is held to what was published, and to what was staged."""

import os

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.integrity import marks_of, require_intact
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, publish, staging


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models")


def publish_with_marks(repository, *, meanwhile=lambda folder: None):
    """As ``add-model`` does it: marks, digests, the record; ``meanwhile`` is what somebody else does then."""
    with staging(repository) as stage:
        directory = stage.repository.model("churn")
        folder = directory.version_path(1)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text("weights")
        directory.config_path.write_text('name: "churn"\nbackend: "onnxruntime"\n')
        digested = marks_of(folder)
        write_provenance(directory.provenance_path(1), {"model": "churn", "files": digests_of(folder)})
        meanwhile(folder)
        publish([StagedModel(directory=directory, version=1, digested=digested)], repository)


def change_at_the_old_time(path):
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_staged_and_not_touched_since_is_published(repository):
    publish_with_marks(repository)
    require_intact(repository.model("churn"), 1)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda folder: (folder / "model.onnx").write_text("changed"),
        lambda folder: change_at_the_old_time(folder / "model.onnx"),
        lambda folder: (folder / "model.onnx").unlink(),
        lambda folder: (folder / "more.bin").write_text("added"),
    ],
    ids=["changed", "changed and its time put back", "removed", "added"],
)
def test_what_changes_after_its_digest_was_recorded_is_not_published(repository, meanwhile):
    with pytest.raises(RepositoryError, match="changed while it was made ready"):
        publish_with_marks(repository, meanwhile=meanwhile)
    assert not repository.path.exists() or list(repository.models()) == []


def test_a_version_that_is_not_there_or_not_intact_is_named(repository):
    publish_with_marks(repository)
    model = repository.model("churn")
    with pytest.raises(RepositoryError, match="no version 2"):
        require_intact(model, 2)
    (model.version_path(1) / "model.onnx").write_text("changed")
    with pytest.raises(RepositoryError, match=r"model\.onnx' is not what was published"):
        require_intact(model, 1)


def test_a_line_of_the_journal_that_lacks_its_end_is_written_again(repository):
    publish_with_marks(repository)
    journal, entry = Journal(repository), Entry(action="label", model="churn", version=1)
    journal.append([entry])
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-1])
    journal.append([entry])
    assert journal.path.read_bytes() == whole
