# SPDX-License-Identifier: Apache-2.0
"""A pull into a repository that is lived in: labels, pipelines, rollbacks, removals and edits of its own."""

import shutil
from dataclasses import replace

import pytest

from repo_tool.errors import ConfigError, NoSpaceError, RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.repository.stamps import unstamped
from repo_tool.workflows import pull_models
from repo_tool.workflows.earlier_model import served_by_any
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.list_versions import list_versions
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.remove_versions import remove_model, remove_version
from support.command import everything_in
from support.open_loop import publish_versioned

ENSEMBLE = """
name: "top"
platform: "ensemble"
max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }}
ensemble_scheduling {{ step {{
  model_name: "m" model_version: {member} input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "y" }}
}} }}
"""


@pytest.fixture
def here(mounted, repository, tmp_path):
    """Has pulled version 1 of a model whose version 2 has been pushed since."""
    publish_versioned(repository, "m", 1)
    mounted.push(repository.path)
    mounted.pull(tmp_path / "models")
    publish_versioned(repository, "m", 2)
    mounted.push(repository.path)
    return ModelRepository(tmp_path / "models")


def publish_ensemble(repository, version, *, member):
    with staging(repository) as stage:
        directory = stage.repository.model("top")
        directory.version_path(version).mkdir(parents=True)
        (directory.version_path(version) / ".gitkeep").touch()
        directory.config_path.write_text(ENSEMBLE.format(member=member))
        publish([StagedModel(directory=directory, version=version)], repository)


def served(repository, name="m"):
    return set(served_by_any(repository.model(name)))


def rewritten(repository, old, new):
    path = repository.model("m").config_path
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_labelled_version_stays_loaded(mounted, here):
    move(here, "m", "stable", 1)
    assert mounted.pull(here.path)["m", "changed"].versions == (2,)
    assert served(here) == {1, 2}
    assert mounted.pull(here.path).keys() == {("m", "unchanged")}


def test_a_version_that_a_pipeline_here_was_proven_with_stays_loaded(mounted, here):
    publish_ensemble(here, 1, member=1)
    mounted.pull(here.path, "m")
    assert served(here) == {1, 2}


@pytest.mark.slow
def test_a_pipeline_that_comes_anew_keeps_nothing_for_the_one_that_it_replaces(mounted, repository, here):
    publish_ensemble(repository, 1, member=2)
    mounted.push(repository.path)
    mounted.pull(here.path)
    publish_versioned(repository, "m", 3)
    publish_ensemble(repository, 2, member=3)
    mounted.push(repository.path)
    mounted.pull(here.path)
    assert served(here) == {3}


def test_what_the_rules_call_an_error_is_not_published(mounted, repository, here):
    publish_ensemble(repository, 1, member=1)  # which is not loaded there
    mounted.push(repository.path)
    before = everything_in(here.path)
    with pytest.raises(ConfigError, match="ENS103 top"):
        mounted.pull(here.path)
    assert everything_in(here.path) == before


@pytest.mark.slow
def test_a_label_above_what_is_loaded_there_is_told(mounted, repository, here):
    mounted.pull(here.path)
    move(here, "m", "stable", 2)
    rewritten(repository, "latest { num_versions: 1 }", "specific { versions: [1] }")
    mounted.push(repository.path)
    with pytest.raises(RepositoryError, match="loads no version above 1") as refused:
        mounted.pull(here.path)
    assert refused.value.next_step.endswith("rollback m --to 1")


def test_what_was_changed_here_is_not_undone_unseen(mounted, repository, here):
    mounted.pull(here.path)
    rewritten(here, "latest { num_versions: 1 }", "specific { versions: [1] }")
    assert mounted.pull(here.path).keys() == {("m", "unchanged")}
    assert served(here) == {1}
    publish_versioned(repository, "m", 3)
    mounted.push(repository.path)
    for only_tells in (True, False):
        with pytest.raises(RepositoryError, match=r"'config.pbtxt' of 'm' has been changed here, and there") as refused:
            mounted.pull(here.path, only_tells=only_tells)
    assert "--take-theirs" in refused.value.next_step
    mounted.pull(here.path, takes_theirs=True)
    assert served(here) == {3}


@pytest.mark.slow
def test_an_edit_that_nobody_there_touched_stays_and_is_dropped_when_told(mounted, here):
    mounted.pull(here.path)
    before = here.model("m").config_path.read_text()
    here.model("m").config_path.write_text(before + "# by hand\n")
    mounted.pull(here.path)
    assert "# by hand" in here.model("m").config_path.read_text()
    mounted.pull(here.path, takes_theirs=True)
    assert here.model("m").config_path.read_text() == before


def test_who_published_himself_gets_what_others_made_of_it(mounted, repository, here):
    mounted.pull(here.path)
    publish_versioned(here, "m", 3)
    mounted.push(here.path)
    assert mounted.pull(repository.path)["m", "changed"].versions == (3,)


def test_what_was_pushed_and_not_changed_since_gives_way_to_what_another_made_of_it(mounted, repository, here):
    mounted.pull(here.path)
    rewritten(here, "latest { num_versions: 1 }", "specific { versions: [1] }")
    mounted.push(here.path)
    mounted.pull(repository.path)
    rewritten(repository, "specific { versions: [1] }", "all {}")
    mounted.push(repository.path)
    assert ("m", "changed") in mounted.pull(here.path)
    assert served(here) == {1, 2}


def test_what_was_changed_after_a_push_is_not_undone_unseen(mounted, repository, here):
    mounted.pull(here.path)
    rewritten(here, "latest { num_versions: 1 }", "specific { versions: [1] }")
    mounted.push(here.path)
    rewritten(here, "specific { versions: [1] }", "all {}")
    mounted.pull(repository.path)
    rewritten(repository, "# ", "# and ")
    mounted.push(repository.path)
    with pytest.raises(RepositoryError, match=r"'config.pbtxt' of 'm' has been changed here, and there"):
        mounted.pull(here.path)


def test_what_was_pushed_elsewhere_is_no_leave_to_undo_it(mounted, repository, here, tmp_path):
    mounted.pull(here.path)
    rewritten(here, "latest { num_versions: 1 }", "specific { versions: [1] }")
    replace(mounted, url=str(tmp_path / "another" / "models")).push(here.path)
    assert mounted.pull(here.path).keys() == {("m", "unchanged")}
    publish_versioned(repository, "m", 3)
    mounted.push(repository.path)
    with pytest.raises(RepositoryError, match=r"'config.pbtxt' of 'm' has been changed here, and there"):
        mounted.pull(here.path)
    assert served(here) == {1}


def test_a_push_is_told_once_and_leaves_no_journal_where_there_is_none(mounted, repository):
    publish_versioned(repository, "m", 1)
    for _ in range(2):
        mounted.push(repository.path)
    assert [entry.action for entry in Journal(repository).entries_of("m")] == ["publish", "push"]
    shutil.rmtree(repository.private_path)
    rewritten(repository, "# ", "# and ")
    mounted.push(repository.path)
    assert not repository.private_path.exists()


def test_a_model_that_was_pulled_and_deleted_comes_back_whole(mounted, here):
    mounted.pull(here.path)
    before = everything_in(here.path)
    shutil.rmtree(here.model("m").path)
    mounted.pull(here.path)
    assert everything_in(here.path) == before


def test_removed_versions_stay_away_and_nothing_else_does(mounted, repository, here):
    mounted.pull(here.path)
    remove_version(here, "m", 1)
    publish_versioned(repository, "n", 1)
    publish_versioned(repository, "m", 3)
    mounted.push(repository.path)
    foretold = mounted.pull(here.path, only_tells=True)
    assert foretold["m", "changed"].versions == (3,)
    assert mounted.pull(here.path).keys() == foretold.keys()
    assert (here.model("m").versions(), here.model("n").versions()) == ((2, 3), (1,))


@pytest.mark.slow
def test_a_newest_version_that_was_removed_comes_back_only_when_told(mounted, here):
    mounted.pull(here.path)
    rewritten(here, "latest { num_versions: 1 }", "specific { versions: [1] }")
    remove_version(here, "m", 2)
    assert mounted.pull(here.path).keys() == {("m", "ahead")}
    assert mounted.pull(here.path, takes_theirs=True)["m", "changed"].versions == (2,)
    assert served(here) == {2}


@pytest.mark.slow
def test_a_model_whose_newer_versions_went_with_it_stays_away(mounted, here):
    mounted.pull(here.path)
    publish_versioned(here, "m", 3)
    remove_model(here, "m")
    assert mounted.pull(here.path).keys() == {("m", "ahead")}


def test_all_that_is_pulled_comes_at_once_or_not_at_all(mounted, repository, here, monkeypatch):
    publish_versioned(repository, "a", 1)
    mounted.push(repository.path)
    mounted.pull(here.path)
    rewritten(repository, "# ", "# and ")
    publish_versioned(repository, "z", 1)
    (repository.model("a").config_path).write_text(repository.model("a").config_path.read_text() + "# slower\n")
    mounted.push(repository.path)
    before = everything_in(here.path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)  # the last step of a change
        with pytest.raises(NoSpaceError):
            mounted.pull(here.path)
    assert everything_in(here.path) == before
    mounted.pull(here.path)
    assert "# slower" in unstamped(here.model("a").config_path.read_text())
    assert here.model("z").versions() == (1,)


@pytest.mark.slow
def test_what_changes_here_while_files_arrive_is_not_replaced(mounted, here, monkeypatch):
    fetching = pull_models._fetch

    def edited(*args):
        rewritten(here, "latest { num_versions: 1 }", "all {}")
        fetching(*args)

    monkeypatch.setattr(pull_models, "_fetch", edited)  # the moment between comparing and publishing
    with pytest.raises(RepositoryError, match=r"config.pbtxt' has been changed meanwhile"):
        mounted.pull(here.path)
    assert here.model("m").versions() == (1,)


def test_each_version_that_came_is_told_with_its_date_and_person(mounted, repository, here):
    publish_versioned(repository, "m", 3)
    mounted.push(repository.path)
    mounted.pull(here.path)
    told = list_versions(here.path, "m").versions
    assert [(each.version, bool(each.when), bool(each.who)) for each in told] == [
        (3, True, True),
        (2, True, True),
        (1, True, True),
    ]
    assert fsck_repository(FsckRequest(repository=here.path), RecordedProgress()).clean
