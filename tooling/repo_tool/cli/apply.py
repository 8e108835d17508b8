# SPDX-License-Identifier: Apache-2.0
"""``repo-tool apply``."""

__all__ = ["apply"]

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, console, error_console, show_error
from repo_tool.printable import printable

if TYPE_CHECKING:
    from repo_tool.workflows.apply_plan import Applied, Outcome
    from repo_tool.workflows.plan_actions import Action


def apply(
    file: Annotated[Path, typer.Argument(help="What the repository shall hold.")] = Path("repo-tool.yaml"),
    repository: Annotated[
        Path | None, typer.Option("--repository", "-r", help="Default: the one that the file names.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is changed.")] = False,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Remove every model that is not listed, or none. Default: those that apply had added.",
        ),
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Add a new version of it in any case. May be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Convert, validate and verify everything, but publish nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Make the repository equal to what a file says: add, change and remove models, and pipelines after their models.

    Each model is proven on a real Triton and published by itself, as add-model does; one that fails stops only those
    that need it. A second run finds nothing to do. Leaves with 0 when all is as the file says, 1 when something failed.

    **Example:**

        repo-tool apply repo-tool.yaml --yes
    """
    from repo_tool.cli.plan_text import show_plan
    from repo_tool.workflows.plan_repository import plan_repository

    planned = plan_repository(file, repository=repository, prune=prune, replace=replace or ())
    if not as_json:
        show_plan(planned, console())
    if not planned.plan:
        if as_json:
            _print_json(planned.to_dict() | {"published": False, "outcomes": [], "diagnostics": []})
        return
    if not (yes or dry_run):
        _ask(can_ask=not as_json and sys.stdin.isatty())
    from repo_tool.workflows.apply_plan import apply_plan

    audience = _Audience(quiet=as_json, total=len(planned.plan.actions))
    try:
        applied = apply_plan(planned, audience, dry_run=dry_run)
    except (KeyboardInterrupt, SystemExit):
        words = f"stopped after {audience.done} of {audience.total}: apply again to go on"
        error_console().print(words, style="yellow", markup=False, soft_wrap=True)
        raise
    if as_json:
        _print_json(planned.to_dict() | applied.to_dict())
    else:
        _show(applied)
    if not _is_good(applied):
        raise typer.Exit(1)


def _ask(*, can_ask: bool) -> None:
    from repo_tool.errors import UserMistakeError

    if not can_ask:
        raise UserMistakeError(
            "nothing was changed: nobody is there to be asked",
            cause="apply shows what it is about to do and asks, and standard input is no terminal",
            next_step="pass --yes, or look first: repo-tool plan",
        )
    if not typer.confirm("change the repository so?", err=True):
        error_console().print("nothing was changed")
        raise typer.Exit(1)


def _print_json(values: dict[str, object]) -> None:
    import json

    print(json.dumps(values, indent=2))


class _Audience:
    """Headings and steps on standard error, and how many actions are done."""

    def __init__(self, *, quiet: bool, total: int) -> None:
        self.progress = ConsoleProgress(quiet=quiet)
        self.done = 0
        self.total = total
        self._tried = 0
        self._quiet = quiet

    def begins(self, action: "Action") -> None:
        """Say which model it is about."""
        self._tried += 1
        if not self._quiet:
            words = f"\n{action.kind.value} {printable(action.model)} ({self._tried} of {max(self._tried, self.total)})"
            error_console().print(words, style="bold", markup=False, soft_wrap=True)

    def ends(self, outcome: "Outcome") -> None:
        """Say why nothing came of it."""
        self.done += outcome.result.value == "done"
        if self._quiet:
            return
        if outcome.error is not None:
            show_error(outcome.error)
        elif outcome.why:
            words = f"{outcome.action.kind.value} {outcome.action.model}: not done: {outcome.why}"
            error_console().print("\n" + printable(words), style="yellow", markup=False, soft_wrap=True)


def _show(applied: "Applied") -> None:
    from repo_tool.rules import Severity

    out = console()
    errors = [found for found in applied.diagnostics if found.severity is Severity.ERROR]
    for found in errors:
        words = f"{found.code} {found.model}: {found.message}"
        out.print(printable(words), style="red", markup=False, soft_wrap=True)
    counts = {result: sum(outcome.result.value == result for outcome in applied.outcomes) for result in _RESULTS}
    words = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    verdict = f"; the repository has {len(errors)} errors: repo-tool validate" if errors else ""
    dry = "dry run, nothing was published: " if not applied.published else ""
    out.print(f"\n{dry}{words}{verdict}", style="bold", markup=False, soft_wrap=True)


_RESULTS = ("done", "failed", "skipped")


def _is_good(applied: "Applied") -> bool:
    from repo_tool.rules import Severity

    is_valid = all(found.severity is not Severity.ERROR for found in applied.diagnostics)
    return is_valid and all(outcome.result.value == "done" for outcome in applied.outcomes)
