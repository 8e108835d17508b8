# SPDX-License-Identifier: Apache-2.0
"""``repo-tool prune``."""

__all__ = ["prune"]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.remove_versions import Pruned

_Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="Default: all.", autocompletion=complete_model),
]
_Keep = Annotated[int, typer.Option(min=1, help="How many of the newest versions of each model stay.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")]
_Now = Annotated[
    bool,
    typer.Option("--now", help="Keep nothing: delete what goes, and what is kept of these models, for good."),
]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def prune(
    models: _Models = None,
    keep: _Keep = 3,
    dry_run: _DryRun = False,
    now: _Now = False,
    repository: _Repository = Path("model_repository"),
    as_json: _AsJson = False,
) -> None:
    """Remove old versions: all but the newest, and those that config.pbtxt loads or that have a label or a pipeline.

    Versions with which a pipeline's earlier version was proven stay as long as that one. What goes is kept for some
    days beside the repository. With --now it is not, and what earlier commands took out of these models goes as well.

    **Example:**

        repo-tool prune --keep 3 --dry-run

        repo-tool prune churn --keep 3 --now
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.remove_versions import prune_versions

    place = ModelRepository(repository)
    pruned = prune_versions(place, models or (), keep=keep, dry_run=dry_run)
    freed = _drop(place, pruned) if now and not dry_run else None
    if as_json:
        facts = {"dry_run": dry_run, "models": [each.to_dict() for each in pruned], "freed_bytes": freed}
        print(json.dumps(facts, indent=2))
    else:
        _show_all(pruned, freed, place, dry_run=dry_run)


def _drop(repository: "ModelRepository", pruned: "Sequence[Pruned]") -> int:
    from repo_tool.workflows.drop_kept import drop_kept

    return drop_kept(repository, [name for each in pruned for name in each.models])


def _show_all(pruned: "Sequence[Pruned]", freed: int | None, repository: "ModelRepository", *, dry_run: bool) -> None:
    for each in pruned:
        _show(each, dry_run=dry_run)
    going = sum(len(each.removed) for each in pruned)
    word = "would go" if dry_run else "removed"
    console().print(f"{going} version{'' if going == 1 else 's'} {word}", style="bold", markup=False)
    if freed is not None or (going and not dry_run):
        console().print(_room(freed, repository.private_path / "withdrawn"), markup=False, soft_wrap=True)


def _room(freed: int | None, kept: Path) -> str:
    from repo_tool.remotes.transfer import in_words
    from repo_tool.repository.publish import WITHDRAWN_FOR_DAYS

    if freed is not None:
        return f"nothing of it is kept: {in_words(freed)} more are free"
    return f"kept for {WITHDRAWN_FOR_DAYS} days in {kept}; prune --now has its room at once"


def _show(pruned: "Pruned", *, dry_run: bool) -> None:
    from repo_tool.printable import printable

    out = console()
    if pruned.removed:
        word = "would lose" if dry_run else "lost"
        numbers = ", ".join(map(str, pruned.removed))
        out.print(printable(f"{pruned.model} {word} {numbers}"), markup=False, soft_wrap=True)
    for version, reason in pruned.kept.items():
        if reason:
            out.print(printable(f"{pruned.model} keeps {version}: {reason}"), style="dim", markup=False, soft_wrap=True)
