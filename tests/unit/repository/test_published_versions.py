# SPDX-License-Identifier: Apache-2.0
"""What publishing leaves of versions, numbers, shared files, stamps and the journal, in any order of commands."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from repo_tool.errors import RepositoryError, VersionExistsError
from repo_tool.repository.integrity import problems
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, next_version, publish, rewrite, staging, withdraw
from repo_tool.repository.stamps import due_stamps, provenance_digest, stamps_of
from support.command import everything_in

CONFIG = 'name: "m"\nbackend: "python"\n'
LONG_AGO = 1_000_000_000


def stage_model(stage, version, *, words="", config=CONFIG, variant=""):
    """A version whose bytes tell ``words``, as add-model leaves it."""
    directory = stage.repository.model("m")
    directory.version_path(version).mkdir(parents=True)
    (directory.version_path(version) / "model.py").write_text(words or f"version {version}")
    directory.config_path.write_text(config)
    directory.warmup_path.mkdir()
    (directory.warmup_path / "row").write_text("a row")
    (directory.path / "labels.txt").write_text("yes\nno\n")
    if variant:
        directory.variants_path.mkdir()
        directory.variant_path("cpu").write_text(variant)
    write_provenance(directory.provenance_path(version), {"files": digests_of(directory.version_path(version))})
    return StagedModel(directory=directory, version=version)


def publish_next(repository, **staged):
    with staging(repository) as stage:
        return publish([stage_model(stage, 1, **staged)], repository, renumber=True)


def remove(repository, *versions, config=CONFIG):
    with staging(repository) as stage:
        directory = stage.repository.model("m")
        directory.path.mkdir()
        directory.config_path.write_text(config)
        publish([StagedModel(directory=directory, removed=versions)], repository)


def stamped_versions(model, variant=""):
    return list(stamps_of(model.read_config(variant)))


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models")


def test_every_configuration_tells_the_bytes_of_each_version_that_it_loads(repository):
    publish_next(repository)
    model = repository.model("m")
    publish_next(repository, config=CONFIG + "version_policy { specific { versions: [1, 2] } }\n", variant=CONFIG)
    assert stamps_of(model.read_config()) == {version: provenance_digest(model, version) for version in (1, 2)}
    assert stamped_versions(model, "cpu") == [2]


def test_a_variant_of_a_persons_own_is_stamped_too_and_a_text_that_is_none_stays(repository):
    publish_next(repository, variant=CONFIG)
    model = repository.model("m")
    model.variant_path("mine").write_text("# mine\nmax_batch_size: 2\n")
    model.variant_path("odd").write_text("no configuration {")
    publish_next(repository)
    assert model.variant_path("mine").read_text().startswith("# mine\nmax_batch_size: 2\n")
    assert stamped_versions(model, "mine") == stamped_versions(model, "cpu") == [2]
    assert model.variant_path("odd").read_text() == "no configuration {"


def test_files_that_versions_share_and_that_say_the_same_stay_the_same_files(repository):
    publish_next(repository)
    model = repository.model("m")
    shared = [model.path / "labels.txt", model.warmup_path / "row", model.warmup_path]
    for path in shared:
        set_time(path, LONG_AGO)
    before = [path.stat().st_ino for path in shared[:2]]
    publish_next(repository)
    assert [path.stat().st_mtime for path in shared] == [LONG_AGO] * 3
    assert [path.stat().st_ino for path in shared[:2]] == before
    assert model.config_path.stat().st_mtime > LONG_AGO


def test_earlier_versions_come_along_as_they_are_when_the_new_one_appears(repository):
    for _ in range(3):
        publish_next(repository)
    model = repository.model("m")
    (model.version_path(1) / "link").symlink_to("model.py")

    def somebody_else():
        (model.version_path(1) / "model.py").write_text("longer than before")
        (model.version_path(2) / "model.py").unlink()
        (model.version_path(2) / "other.py").write_text("new")

    with staging(repository) as stage:
        publish([stage_model(stage, 4)], repository, require=somebody_else)
    assert model.versions() == (1, 2, 3, 4)
    assert (model.version_path(1) / "model.py").read_text() == "longer than before"
    assert (model.version_path(1) / "link").is_symlink()
    assert sorted(path.name for path in model.version_path(2).iterdir()) == ["other.py", "provenance.json"]
    assert (model.version_path(3) / "model.py").read_text() == "version 1"


def set_time(path, seconds):
    os.utime(path, (seconds, seconds))


def test_a_number_never_comes_back(repository):
    publish_next(repository)
    publish_next(repository)
    remove(repository, 2)
    model = repository.model("m")
    with pytest.raises(VersionExistsError, match="version 2 of 'm' was there once"):
        next_version(model, wanted=2)
    with staging(repository) as stage:
        withdraw(model, stage)
    assert publish_next(repository) == 3
    assert model.versions() == (3,)


def test_versions_go_together_and_are_kept_with_the_model_as_it_was(repository):
    for _ in range(3):
        publish_next(repository)
    before = everything_in(repository.path / "m")
    remove(repository, 1, 3)
    model, withdrawn = repository.model("m"), repository.private_path / "withdrawn"
    assert model.versions() == (2,)
    assert stamped_versions(model) == [2]
    (kept,) = withdrawn.glob("*/m")
    assert everything_in(kept) == before
    with staging(repository) as stage:
        whole = withdraw(model, stage)
    assert set(withdrawn.glob("*/m")) == {kept, whole}
    os.utime(kept.parent, (LONG_AGO, LONG_AGO))
    publish_next(repository)
    assert list(withdrawn.glob("*/m")) == [whole]


def test_what_changed_in_the_staging_is_not_published(repository):
    publish_next(repository)
    before = everything_in(repository.path)
    with staging(repository) as stage:
        staged = stage_model(stage, 2)
        (staged.directory.version_path(2) / "model.py").write_text("other bytes")
        with pytest.raises(RepositoryError, match="changed while it was made ready") as raised:
            publish([staged], repository)
    assert "model.py" in raised.value.cause
    assert everything_in(repository.path) == before
    assert [entry.version for entry in Journal(repository).entries()] == [1]


def test_the_journal_tells_of_each_change(repository):
    publish_next(repository)
    publish_next(repository)
    model = repository.model("m")
    text = model.config_path.read_text()
    rewrite(repository, {"m/config.pbtxt": (text, text + "# mine\n")})
    remove(repository, 1)
    with staging(repository) as stage:
        withdraw(model, stage, action="remove")
    told = [(entry.action, entry.version, bool(entry.digest)) for entry in Journal(repository).entries()]
    assert told == [
        ("publish", 1, True),
        ("publish", 2, True),
        ("configure", None, False),
        ("remove", 1, False),
        ("remove", 2, False),
    ]


def test_files_of_ours_change_with_those_of_the_repository(repository):
    publish_next(repository)
    model = repository.model("m")
    text = model.config_path.read_text()
    entry = Entry(action="roll back", model="m", version=1)
    change = {"m/config.pbtxt": (text, text + "# back\n")}
    rewrite(repository, change, beside=lambda: {"labels.json": ("", "new")}, entries=[entry])
    assert (repository.private_path / "labels.json").read_text() == "new"
    assert Journal(repository).entries()[-1] == entry
    with pytest.raises(RepositoryError, match="changed meanwhile"):
        rewrite(
            repository, {"m/config.pbtxt": (text + "# back\n", text)}, beside=lambda: {"labels.json": ("", "other")}
        )
    assert model.config_path.read_text() == text + "# back\n"


class Commands(RuleBasedStateMachine):
    """Any order of commands against what a person would expect of them."""

    def __init__(self):
        super().__init__()
        memory = Path("/dev/shm")  # noqa: S108 - where nothing waits for a disk
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.repository = ModelRepository(Path(self.folder.name) / "models")
        self.model = self.repository.model("m")
        self.words = {}
        self.highest = 0

    @rule(words=st.sampled_from(["a", "b"]), policy=st.sampled_from(["", "version_policy { all {} }\n"]))
    def publish(self, words, policy):
        self.highest += 1
        assert publish_next(self.repository, words=words, config=CONFIG + policy) == self.highest
        self.words[self.highest] = words

    @precondition(lambda self: len(self.words) > 1)
    @rule(data=st.data())
    def remove(self, data):
        version = data.draw(st.sampled_from(sorted(self.words)))
        remove(self.repository, version)
        del self.words[version]

    @precondition(lambda self: self.words)
    @rule()
    def withdraw(self):
        with staging(self.repository) as stage:
            withdraw(self.model, stage)
        self.words.clear()

    @precondition(lambda self: self.words)
    @rule(data=st.data())
    def serve(self, data):
        version = data.draw(st.sampled_from(sorted(self.words)))
        text = self.model.config_path.read_text()
        new = CONFIG + f"version_policy {{ specific {{ versions: [{version}] }} }}\n"
        rewrite(self.repository, {"m/config.pbtxt": (text, new)})

    @invariant()
    def what_is_there_is_what_was_published(self):
        there = {version: self.bytes_of(version) for version in self.model.versions()}
        assert there == self.words
        assert not [each for version in there for each in problems(self.model, version)]
        if there:
            config = self.model.read_config()
            assert stamps_of(config) == due_stamps(self.model, config) != {}

    @invariant()
    def the_journal_knows_every_number(self):
        told = [entry.version for entry in Journal(self.repository).entries() if entry.action == "publish"]
        assert told == list(range(1, self.highest + 1))
        assert next_version(self.model) == self.highest + 1

    def bytes_of(self, version):
        return (self.model.version_path(version) / "model.py").read_text()

    def teardown(self):
        self.folder.cleanup()


TestAnyOrderOfCommands = Commands.TestCase
TestAnyOrderOfCommands.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
