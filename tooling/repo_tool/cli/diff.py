# SPDX-License-Identifier: Apache-2.0
"""``repo-tool diff``."""

from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from repo_tool.config.changes import Change, Effect
    from repo_tool.workflows.diff_repositories import Difference

_LONGEST_VALUE = 72  # signs
_GROUPS = {  # by effect: heading, mark, colour
    "breaking": ("breaks clients", "✗", "bold red"),
    "compatible": ("clients may notice, none breaks", "+", "green"),
    "server": ("the server only", "·", "dim"),
}

Operand = "A config.pbtxt, a model directory or a repository; or REVISION:PATH of one in Git."


def diff(
    old: Annotated[str, typer.Argument(help=Operand, show_default=False)],
    new: Annotated[str, typer.Argument(help="What to compare it with: one of the same kind.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show what a change of configurations means for clients, as against what only the server does otherwise.

    A change is breaking when a request that was answered is refused, or its answer may be of another type or shape:
    an input added or gone, a type, dims that no longer hold every shape, fewer rows a request, an output gone, other
    labels, a version that need not be served any more, a queue that takes fewer or keeps them less long. The
    exit code is 1 when something breaks, 2 when it could not look.

    **Example:**

        repo-tool diff main:model_repository model_repository
    """
    from repo_tool.workflows.diff_repositories import diff as run

    difference = run(old, new)
    if as_json:
        import json

        print(json.dumps(difference.to_dict(), indent=2))
    else:
        _show(difference)
    if difference.is_breaking:
        raise typer.Exit(1)


def _show(difference: "Difference") -> None:
    from repo_tool.cli.console import console

    out = console()
    for model in difference.models:
        out.print(printable(model.name), style="bold", markup=False, soft_wrap=True)
        for effect, (heading, mark, style) in _GROUPS.items():
            changes = [change for change in model.changes if change.effect.value == effect]
            if changes:
                out.print(f"  {heading}", style=style)
            for change in changes:
                out.print(_line(change, mark, style, width=_width(changes)), soft_wrap=True)
        out.print()
    out.print(_summary(difference.counts, difference.compared))


def _width(changes: "list[Change]") -> int:
    """How wide the column of paths is; the few that are longer stand out of it."""
    return max((width for change in changes if (width := len(printable(change.path))) <= 48), default=0)


def _line(change: "Change", mark: str, style: str, *, width: int) -> "Text":
    from rich.text import Text

    path, words = printable(change.path), printable(change.words)
    line = Text.assemble("    ", (mark, style), f" {path:<{width}}  " if path else " ")
    line.append(words)
    if change.path:
        values = f"{_value(change.before)} → {_value(change.after)}"
        line.append(f"  ({values})" if words else values, style="dim" if words else "")
    return line


def _value(text: str) -> str:
    """A value as one short line."""
    words = printable(text) or "absent"
    return words if len(words) <= _LONGEST_VALUE else f"{words[: _LONGEST_VALUE - 1]}…"


def _summary(counts: "Mapping[Effect, int]", compared: int) -> str:
    names = {"breaking": "breaking", "compatible": "compatible", "server": "of the server only"}
    said = [f"{count} {names[effect.value]}" for effect, count in counts.items() if count]
    models = f"{compared} model{'' if compared == 1 else 's'}"
    return f"{models} compared: {', '.join(said)}" if said else f"{models} compared: no difference"
