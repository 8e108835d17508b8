# SPDX-License-Identifier: Apache-2.0
"""``repo-tool prune``."""

__all__ = ["prune"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.remove_versions import Pruned


def prune(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Default: all.", autocompletion=complete_model),
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions of each model stay.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Remove old versions: all but the newest, and those that config.pbtxt loads or that have a label or a pipeline.

    Versions with which a pipeline's earlier version was proven stay as long as that one. What goes is kept for some
    days beside the repository.

    **Example:**

        repo-tool prune --keep 3 --dry-run
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.remove_versions import prune_versions

    pruned = prune_versions(ModelRepository(repository), models or (), keep=keep, dry_run=dry_run)
    if as_json:
        import json

        print(json.dumps({"dry_run": dry_run, "models": [each.to_dict() for each in pruned]}, indent=2))
        return
    for each in pruned:
        _show(each, dry_run=dry_run)
    if not dry_run and any(each.removed for each in pruned):
        _show_where(ModelRepository(repository).private_path / "withdrawn")
    going = sum(len(each.removed) for each in pruned)
    word = "would go" if dry_run else "removed"
    console().print(f"{going} version{'' if going == 1 else 's'} {word}", style="bold", markup=False)


def _show_where(kept: Path) -> None:
    from repo_tool.repository.publish import WITHDRAWN_FOR_DAYS

    words = f"kept for {WITHDRAWN_FOR_DAYS} days in {kept}; delete that folder to have its room at once"
    console().print(words, markup=False, soft_wrap=True)


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
