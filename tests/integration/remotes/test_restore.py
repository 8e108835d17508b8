# SPDX-License-Identifier: Apache-2.0
"""What is damaged or missing here comes back from where it was pushed to, byte by byte, and nothing else changes."""

import json
import shutil
from pathlib import Path

import pytest

from repo_tool.errors import RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import shared_digests_of, write_provenance
from repo_tool.repository.stamps import restamped
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.remove_versions import remove_version
from support.command import everything_in, repo_tool
from support.open_loop import publish_versioned


@pytest.fixture
def pushed(repository):
    """Three versions of a model, of which the newest is loaded, once they are pushed."""

    def push(elsewhere):
        for version in (1, 2, 3):
            publish_versioned(repository, "m", version)
        elsewhere.push(repository.path)
        return everything_in(repository.path)

    return push


def fsck(repository, elsewhere=None, **options):
    place = {"source": elsewhere.url, "endpoint_url": elsewhere.endpoint_url} if elsewhere else {}
    request = FsckRequest(repository=repository.path, repair=bool(elsewhere), **place, **options)
    return fsck_repository(request, RecordedProgress())


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage(model):
    """A byte of one version, a file of another one, and the proof of the one that is loaded."""
    flip_a_byte(model.version_path(1) / "model.onnx")
    model.sample_path(2).unlink()
    model.provenance_path(3).write_text("{")
    (model.version_path(3) / "model.onnx").write_bytes(b"torn")


def test_what_is_damaged_and_what_is_missing_comes_back(elsewhere, repository, pushed):
    before = pushed(elsewhere)
    damage(repository.model("m"))
    damaged = everything_in(repository.path)
    checked = fsck(repository, elsewhere)
    assert (checked.clean, len(checked.repaired), checked.failures) == (True, 5, {})
    assert everything_in(repository.path) == before
    [kept] = (repository.private_path / "withdrawn").glob("*/m")
    assert everything_in(kept) == {path[2:]: content for path, content in damaged.items() if path != "m/"}
    told = [entry for entry in Journal(repository).entries_of("m") if entry.action == "restore"]
    assert [(entry.version, entry.details["paths"]) for entry in told] == [
        (1, ["1/model.onnx"]),
        (2, ["2/sample.npz"]),
        (3, ["3/model.onnx", "3/provenance.json"]),
    ]


@pytest.mark.slow
def test_the_command_tells_the_way_and_goes_it(bucket, repository, pushed):
    before = pushed(bucket)
    flip_a_byte(repository.model("m").version_path(1) / "model.onnx")
    looked = repo_tool("fsck", "-r", repository.path)
    assert looked.returncode == 1
    assert "next: repo-tool fsck --repair --from PLACE" in looked.stdout
    place = ["--from", bucket.url, "--endpoint-url", bucket.endpoint_url]
    mended = repo_tool("fsck", "--repair", *place, "-r", repository.path)
    assert (mended.returncode, "all as published, 1 mended" in mended.stdout) == (0, True), mended.stdout
    assert everything_in(repository.path) == before


@pytest.mark.slow
def test_what_is_whole_is_not_touched(mounted, repository, pushed):
    pushed(mounted)
    flip_a_byte(repository.model("m").version_path(1) / "model.onnx")
    (repository.model("m").path / "notes.txt").write_text("a person's")
    whole = [path for path in repository.path.rglob("*") if path.is_file() and path.parts[-2:] != ("1", "model.onnx")]
    traits = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole}
    assert fsck(repository, mounted).clean
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole} == traits


@pytest.mark.parametrize("knows", ["journal", "stamps"])
def test_a_proof_that_is_gone_comes_back_by_what_names_it(mounted, repository, pushed, knows):
    before = pushed(mounted)
    version = 2 if knows == "journal" else 3  # that is not loaded, so no configuration names it
    repository.model("m").provenance_path(version).unlink()
    if knows == "stamps":
        Journal(repository).path.unlink()
    assert [finding.kind for finding in fsck(repository).findings] == ["missing"]
    assert fsck(repository, mounted).clean
    assert everything_in(repository.path) == before


def test_a_version_that_is_gone_comes_whole_or_not_at_all(mounted, repository, pushed):
    before = pushed(mounted)
    shutil.rmtree(repository.model("m").version_path(2))
    sample = Path(mounted.url, "m", "2", "sample.npz")
    content = sample.read_bytes()
    sample.write_bytes(b"damaged there too")
    checked = fsck(repository, mounted)
    assert [(each.kind, "is not what was pushed" in why) for each, why in checked.failures.items()] == [("gone", True)]
    assert repository.model("m").versions() == (1, 3)
    sample.write_bytes(content)
    assert fsck(repository, mounted).clean
    assert everything_in(repository.path) == before


def test_what_the_remote_has_not_stays_told(mounted, repository, pushed):
    pushed(mounted)
    publish_versioned(repository, "m", 4)
    model = repository.model("m")
    flip_a_byte(model.version_path(1) / "model.onnx")
    flip_a_byte(model.version_path(4) / "model.onnx")
    damaged = (model.version_path(4) / "model.onnx").read_bytes()
    checked = fsck(repository, mounted)
    assert [(each.version, each.kind) for each in checked.repaired] == [(1, "changed")]
    [(finding, why)] = checked.failures.items()
    assert (finding.version, "has no '4/model.onnx' of 'm'" in why, checked.clean) == (4, True, False)
    assert (model.version_path(4) / "model.onnx").read_bytes() == damaged


def test_another_version_of_the_number_there_is_not_taken(mounted, repository, tmp_path):
    theirs = ModelRepository(tmp_path / "theirs" / "models")
    publish_versioned(theirs, "m", 1, padding_bytes=64)
    mounted.push(theirs.path)
    publish_versioned(repository, "m", 1)
    (repository.model("m").version_path(1) / "model.onnx").unlink()
    before = everything_in(repository.path)
    assert not fsck(repository, mounted).clean
    assert everything_in(repository.path) == before


def test_what_versions_share_comes_back_too(mounted, repository):
    publish_versioned(repository, "m", 1)
    model = repository.model("m")
    (model.path / "labels.txt").write_text("no\nyes\n")
    facts = json.loads(model.provenance_path(1).read_text())
    write_provenance(model.provenance_path(1), facts | {"shared_files": shared_digests_of(model.path)})
    model.config_path.write_text(restamped(model.config_path.read_text(), model))
    Journal(repository).path.unlink()  # which tells the digest that was
    mounted.push(repository.path)
    before = everything_in(repository.path)
    (model.path / "labels.txt").write_text("yes\nno\n")
    assert fsck(repository, mounted).clean
    assert everything_in(repository.path) == before


def test_a_configuration_that_names_another_proof_is_told_apart_from_damage(mounted, repository, pushed):
    before = pushed(mounted)
    config = repository.model("m").config_path
    [line] = [line for line in config.read_text().splitlines() if "provenance.3" in line]
    digest = line.split("sha256:")[1][:64]
    config.write_text(config.read_text().replace(digest, "0" * 64))
    [(finding, why)] = fsck(repository, mounted).failures.items()
    assert (finding.kind, "take that line out" in why) == ("stamp", True)
    config.write_text(config.read_text().replace(line.replace(digest, "0" * 64) + "\n", ""))
    assert fsck(repository, mounted).clean
    assert everything_in(repository.path) == before


@pytest.mark.slow
def test_what_was_removed_by_a_command_stays_away(mounted, repository, pushed):
    pushed(mounted)
    remove_version(repository, "m", 1)
    assert fsck(repository, mounted).clean
    assert repository.model("m").versions() == (2, 3)


def test_no_name_in_a_proof_leads_out_of_the_model(mounted, repository, pushed):
    pushed(mounted)
    model = repository.model("m")
    Journal(repository).path.unlink()
    facts = json.loads(model.provenance_path(1).read_text())
    facts["files"]["../../../../../../escaped"] = facts["files"]["model.onnx"]
    model.provenance_path(1).write_text(json.dumps(facts))
    checked = fsck(repository, mounted)
    assert any("lies outside" in why for why in checked.failures.values())
    assert not list(repository.path.parents[1].rglob("escaped"))


def test_a_place_that_holds_nothing_is_told_before_anything_is_read(mounted, repository):
    publish_versioned(repository, "m", 1)
    with pytest.raises(RepositoryError, match="nothing has been pushed"):
        fsck(repository, mounted)
    told = repo_tool("fsck", "--from", mounted.url, "-r", repository.path)
    assert (told.returncode, "--repair too" in told.stderr) == (2, True)
