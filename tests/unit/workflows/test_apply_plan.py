# SPDX-License-Identifier: Apache-2.0
"""A plan carried out: what goes, what stays, and what somebody else did between the plan and the yes to it."""

import json
import shutil
from io import StringIO

import pytest
from rich.console import Console

from repo_tool.cli.plan_text import show_plan
from repo_tool.errors import RepositoryError
from repo_tool.workflows.apply_plan import Result, apply_plan
from repo_tool.workflows.plan_repository import plan_repository
from repo_tool.workflows.progress import RecordedProgress

CONFIG = 'backend: "python"\nmax_batch_size: 0\n'


class Silent:
    """Nobody listens."""

    def __init__(self):
        self.progress = RecordedProgress()

    def begins(self, action):
        pass

    def ends(self, outcome):
        pass


def put(folder, name, *, owner="../repo-tool.yaml", version=1, called=None):
    """A model as apply leaves it."""
    path = folder / "models" / name
    (path / str(version)).mkdir(parents=True)
    (path / str(version) / "model.py").write_text("")
    (path / "config.pbtxt").write_text(CONFIG)
    facts = {"schema": 1, "by": "apply", "owner": owner, "model": called or name, "config": CONFIG}
    (path / str(version) / "provenance.json").write_text(json.dumps(facts))


@pytest.fixture
def folder(tmp_path):
    """A file that lists nothing, and a model that it had listed."""
    (tmp_path / "repo-tool.yaml").write_text("options: {repository: models}\nmodels: []\n")
    put(tmp_path, "wine")
    return tmp_path


def plan(folder, **options):
    return plan_repository(folder / "repo-tool.yaml", **options)


def models(folder):
    return sorted(path.name for path in (folder / "models").iterdir())


def test_what_belongs_to_another_file_and_copies_stay(folder):
    put(folder, "theirs", owner="../team_b.yaml")
    shutil.copytree(folder / "models" / "wine", folder / "models" / "wine_backup")
    applied = apply_plan(plan(folder), Silent())
    assert [outcome.result for outcome in applied.outcomes] == [Result.DONE]
    assert models(folder) == ["theirs", "wine_backup"]


def test_a_file_with_an_owner_of_its_own_may_lie_anywhere(folder):
    put(folder, "ours", owner="team a")
    (folder / "repo-tool.yaml").write_text("options: {repository: models, owner: team a}\n")
    (folder / "elsewhere").mkdir()
    shutil.move(folder / "repo-tool.yaml", folder / "elsewhere" / "repo-tool.yaml")
    planned = plan(folder / "elsewhere", repository=folder / "models")
    assert [action.model for action in planned.plan.actions] == ["ours"]
    assert planned.plan.owners == {"wine": "../repo-tool.yaml"}


def test_what_was_removed_can_be_moved_back_for_some_days(folder):
    apply_plan(plan(folder), Silent())
    (kept,) = folder.glob(".models.repo-tool/**/wine")
    assert (kept / "config.pbtxt").read_text() == CONFIG


def test_nothing_goes_where_what_may_take_its_place_failed(folder):
    (folder / "grapes.onnx").write_bytes(b"no model")
    (folder / "repo-tool.yaml").write_text(
        "options: {repository: models}\nmodels: [{name: grapes, source: grapes.onnx}]\n"
    )
    added, removed = apply_plan(plan(folder), Silent()).outcomes
    assert (added.result, removed.result) == (Result.FAILED, Result.SKIPPED)
    assert removed.why == "'grapes' failed, and nothing goes before all else is done"
    assert models(folder) == ["wine"]


@pytest.mark.parametrize("change", ["version", "config", "gone", "new"])
def test_what_somebody_publishes_between_the_plan_and_the_yes_is_kept(folder, change):
    planned = plan(folder)
    if change == "version":
        put(folder, "other")
        (folder / "models" / "other" / "1").rename(folder / "models" / "wine" / "2")
        shutil.rmtree(folder / "models" / "other")
    elif change == "config":
        (folder / "models" / "wine" / "config.pbtxt").write_text(CONFIG + "# a fix\n")
    elif change == "gone":
        shutil.rmtree(folder / "models" / "wine")
    else:
        put(folder, "another")
    before = models(folder)
    with pytest.raises(RepositoryError, match="has been changed since this was planned"):
        apply_plan(planned, Silent())
    assert models(folder) == before


def test_a_dry_run_takes_links_that_lead_nowhere_and_changes_nothing(folder):
    (folder / "models" / "wine" / "old").symlink_to("gone")
    before = sorted(path.name for path in (folder / "models").rglob("*"))
    applied = apply_plan(plan(folder), Silent(), dry_run=True)
    assert (applied.published, [outcome.result for outcome in applied.outcomes]) == (False, [Result.DONE])
    assert sorted(path.name for path in (folder / "models").rglob("*")) == before


def test_what_is_none_of_its_business_may_change_meanwhile(folder):
    planned = plan(folder)
    put(folder, "theirs", owner="../team_b.yaml")
    apply_plan(planned, Silent())
    assert models(folder) == ["theirs"]


def test_names_of_folders_reach_the_terminal_spelt_out(folder):
    put(folder, "\x1b[2Kgone", owner="\x1b]0;team")
    out = StringIO()
    show_plan(plan(folder), Console(file=out, width=200, color_system=None))
    assert "\x1b" not in out.getvalue()
    assert "'\\x1b[2Kgone' was added for '\\x1b]0;team', this is '../repo-tool.yaml'" in out.getvalue()
