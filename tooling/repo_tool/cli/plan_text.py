# SPDX-License-Identifier: Apache-2.0
"""How ``plan`` and ``apply`` show what changes and why."""

__all__ = ["show_action", "show_plan"]

from typing import TYPE_CHECKING

from repo_tool.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from repo_tool.workflows.plan_actions import Action
    from repo_tool.workflows.plan_repository import RepositoryPlan

_MARKS = {"add": ("+", "green"), "change": ("~", "yellow"), "configure": ("~", "yellow"), "remove": ("-", "red")}
_FUTURE = {"add": "to add", "change": "to change", "configure": "to configure", "remove": "to remove"}
_DIFF_STYLES = {"+": "green", "-": "red"}


def show_plan(planned: "RepositoryPlan", out: "Console") -> None:
    """Every action with its reasons, then the counts; one line where there is nothing to do."""
    plan, file = planned.plan, printable(str(planned.file.written.path))
    repository = printable(str(planned.repository.path))
    if plan:
        out.print(f"{file} → {repository}\n", style="bold", markup=False, soft_wrap=True)
    for action in plan.actions:
        show_action(action, out)
    if plan.unlisted:
        names = ", ".join(map(printable, plan.unlisted))
        out.print(f"not listed, left alone: {names}", style="dim", markup=False, soft_wrap=True)
    for name, owner in plan.owners.items():
        words = (
            f"  '{printable(name)}' was added for '{printable(owner)}', this is '{printable(planned.desired.owner)}'"
        )
        out.print(words, style="dim", markup=False, soft_wrap=True)
    if plan.strays:
        names = ", ".join(map(printable, plan.strays))
        out.print(f"put there by hand, left alone: {names}", style="yellow", markup=False, soft_wrap=True)
    kinds = [action.kind.value for action in plan.actions]
    counts = [f"{kinds.count(kind)} {words}" for kind, words in _FUTURE.items() if kind in kinds]
    unchanged = f"{len(plan.unchanged)} as {file} says"
    summary = ", ".join([*counts, unchanged]) if plan else f"nothing to do: {repository} has {unchanged}"
    out.print(summary, style="bold", markup=False, soft_wrap=True)


def show_action(action: "Action", out: "Console") -> None:
    """One action: what is done to which model, why, and what changes in its configuration."""
    from rich.text import Text

    mark, style = _MARKS[action.kind.value]
    subject = "" if action.subject == "model" else f" ({action.subject})"
    reasons = "; ".join(action.reasons)
    head = Text.assemble(
        (f"  {mark} {action.kind.value:<9} ", style), (printable(action.model), "bold"), printable(subject)
    )
    out.print(head.append(f"  {printable(reasons)}" if reasons else ""), soft_wrap=True)
    if action.obstacle:
        out.print(f"      cannot be done: {printable(action.obstacle)}", style="red", markup=False, soft_wrap=True)
    for line in action.diff:
        out.print(f"      {printable(line)}", style=_DIFF_STYLES.get(line[:1], ""), markup=False, soft_wrap=True)
