# SPDX-License-Identifier: Apache-2.0
"""``repo-tool history``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from rich.table import Table

    from repo_tool.repository.journal import Entry
    from repo_tool.workflows.read_history import History

_DIGEST_SIGNS = 12  # enough to tell versions apart


_Model = Annotated[
    str | None,
    typer.Argument(help="Default: every model.", autocompletion=complete_model, show_default=False),
]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="Whose journal to read.")]
_Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many, the newest. 0: all.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def history(
    model: _Model = None,
    repository: _Repository = Path("model_repository"),
    limit: _Limit = 50,
    as_json: _AsJson = False,
) -> None:
    """Show who changed what in the repository, and when: published, removed, rolled back, labelled.

    The newest is the last. A model that is gone still has its history, and its version numbers are never given again.

    **Example:**

        repo-tool history churn
    """
    from repo_tool.workflows.read_history import read_history

    told = read_history(repository, model)
    shown = told.entries[-limit:] if limit else told.entries
    if as_json:
        entries = [entry.to_dict() for entry in shown]
        print(json.dumps({"repository": str(repository), "journal": str(told.journal), "entries": entries}, indent=2))
    else:
        _show(told, shown, model)


def _show(told: "History", shown: "tuple[Entry, ...]", model: str | None) -> None:
    out = console()
    if shown:
        out.print(_table(shown))
    out.print(_summary(len(shown), len(told.entries), model), markup=False, soft_wrap=True)
    if told.faulty_lines:
        out.print(f"{len(told.faulty_lines)} lines of it do not read: repo-tool fsck", style="red", markup=False)


def _table(entries: "tuple[Entry, ...]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from repo_tool.printable import printable

    table = Table(box=None, pad_edge=False)
    for heading in ("when (UTC)", "who", "what", "model", "version", "more"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "when (UTC)")
    for entry in entries:
        table.add_row(*(Text(printable(cell)) for cell in _cells(entry)))
    return table


def _cells(entry: "Entry") -> tuple[str, ...]:
    version = "" if entry.version is None else str(entry.version)
    return (_moment(entry.when), entry.who, entry.action, entry.model, version, _more(entry))


def _moment(when: str) -> str:
    """``2026-11-21T17:05:09.123Z`` without its milliseconds, on two words."""
    return when[:19].replace("T", " ")


def _more(entry: "Entry") -> str:
    told = {name: value for name, value in entry.details.items() if not isinstance(value, dict)}  # those: for programs
    details = [f"{name} {_words(value)}" for name, value in told.items() if value not in (None, "", [])]
    digest = [entry.digest[: len("sha256:") + _DIGEST_SIGNS]] if entry.digest else []
    return ", ".join(details + digest)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _summary(shown: int, known: int, model: str | None) -> str:
    of = f" of '{model}'" if model else ""
    if not known:
        return f"no change{of} has been written down: the journal begins with the first one that repo-tool makes"
    changes = f"{shown} change{'' if shown == 1 else 's'}{of}"
    return changes if shown == known else f"{changes}, the newest of {known}: --limit 0 shows all"
