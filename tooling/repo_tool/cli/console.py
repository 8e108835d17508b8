# SPDX-License-Identifier: Apache-2.0
"""What every command shows things with: consoles that respect NO_COLOR, progress lines, errors."""

__all__ = ["ConsoleProgress", "complete_label", "complete_model", "console", "error_console", "show_error"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from repo_tool.errors import PipelineError, RepoToolError
from repo_tool.printable import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from repo_tool.workflows.progress import Step

_BREAK = "✗"  # in the drawing of a spot


@cache
def console() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False)


@cache
def error_console() -> "Console":
    """Standard error: progress and failures, so that ``--json`` can be piped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@dataclass(slots=True)
class _Running:
    """A step's line while it runs, which tells its detail as that changes."""

    step: "Step"

    def __rich__(self) -> "Text":
        from rich.text import Text

        return Text(printable(f"{self.step.title} … {self.step.detail}".rstrip()))


class ConsoleProgress:
    """Each step as a spinner while it runs, and as a line with its time and finding after it."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextmanager
    def step(self, title: str) -> Iterator["Step"]:
        """Show one step."""
        from rich.text import Text

        from repo_tool.workflows.progress import RecordedProgress

        recorded = RecordedProgress().step(title)
        if self._quiet:
            with recorded as step:
                yield step
            return
        out = error_console()
        mark, style = "✗", "red"
        try:
            with recorded as step, out.status(_Running(step)):
                yield step
            mark, style = "✓", "green"
        finally:
            line = Text.assemble(
                (mark, style), f" {title:<28} ", (f"{step.seconds:5.1f} s  ", "dim"), printable_lines(step.detail)
            )
            out.print(line, soft_wrap=True)


def show_error(error: RepoToolError) -> None:
    """Print the fact, its drawing where there is one, its cause and the next step on standard error."""
    from rich.text import Text

    lines = Text.assemble(("error: ", "bold red"), printable_lines(error.fact))
    if isinstance(error, PipelineError) and error.drawing:
        for line in error.drawing.splitlines():
            lines.append("\n").append(printable_lines(line), style="red" if _BREAK in line else "cyan")
    if error.cause:
        lines.append("\ncause: ", style="bold").append(printable_lines(error.cause))
    if error.next_step:
        lines.append("\nnext:  ", style="bold").append(printable_lines(error.next_step))
    error_console().print(lines, soft_wrap=True)


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    """The models of the repository that start with what was typed, for the shell's tab completion."""
    given = context.params.get("paths") or [context.params.get("repository")]
    repositories = [Path(each or "model_repository") for each in given]
    folders = (entry for each in repositories if each.is_dir() for entry in each.iterdir() if entry.is_dir())
    names = sorted({entry.name for entry in folders})
    return [name for name in names if name.startswith(incomplete)]


def complete_label(context: typer.Context, incomplete: str) -> list[str]:
    """The labels of the model, for the shell's tab completion."""
    from repo_tool.errors import RepositoryError
    from repo_tool.repository.labels import Labels
    from repo_tool.repository.layout import ModelRepository

    repository = Path(context.params.get("repository") or "model_repository")
    try:
        # Before an option without its value, click has not yet told arguments from the rest.
        model = context.params.get("model") or next(iter(context.args), "")
        labels = Labels.of(ModelRepository(repository)).versions(model)
    except RepositoryError:
        return []
    return [label for label in sorted(labels) if label.startswith(incomplete)]
