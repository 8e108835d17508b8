# SPDX-License-Identifier: Apache-2.0
"""``repo-tool versions``."""

__all__ = ["versions"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from rich.table import Table

    from repo_tool.workflows.list_versions import ModelVersions, VersionFacts

_SHOWN_DIGITS = 8
_GAP = 2  # between columns
_FIRST_TO_GO = ("digest", "proven", "source", "by")


def versions(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where the model is.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List the versions of a model: which config.pbtxt loads, labels, pipelines that ask for them, who and when.

    Columns for which a narrow terminal has no room are left out; --json has all of them.

    **Example:**

        repo-tool versions churn
    """
    from repo_tool.workflows.list_versions import list_versions

    found = list_versions(repository, model)
    if as_json:
        import json

        print(json.dumps(found.to_dict(), indent=2))
        return
    _show(found)


def _show(found: "ModelVersions") -> None:
    from repo_tool.printable import printable

    out = console()
    if not found.versions:
        out.print(f"'{found.model}' has no version", markup=False)
    else:
        out.print(_table(found, width=out.width))
    for label, version in found.lost_labels.items():
        words = f"label '{label}' points at version {version}, which is gone"
        out.print(printable(words), style="red", markup=False, soft_wrap=True)


def _table(found: "ModelVersions", *, width: int) -> "Table":
    """Without the columns that are empty for every version, and those that can be done without where room is short."""
    from rich.table import Table

    cells = [_cells(version) for version in found.versions]
    headings = [name for name in cells[0] if any(row[name] for row in cells)]
    for name in _FIRST_TO_GO:
        if sum(max(len(name), *(len(row[name]) for row in cells)) + _GAP for name in headings) > width:
            headings = [each for each in headings if each != name]
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading == "version" else "left")
    for version, row in zip(found.versions, cells, strict=True):
        table.add_row(*(row[name] for name in headings), style="" if version.is_loaded else "dim")
    return table


def _cells(version: "VersionFacts") -> dict[str, str]:
    from rich.markup import escape

    from repo_tool.printable import printable

    cells = {
        "version": str(version.version),
        "loaded": "yes" if version.is_loaded else "no",
        "labels": ", ".join(version.labels),
        "pipelines": ", ".join(version.askers),
        "published": version.when[:16].replace("T", " "),
        "by": version.who,
        "source": version.source,
        "proven": "no" if version.unproven else "yes",
        "digest": version.digest.removeprefix("sha256:")[:_SHOWN_DIGITS],
    }
    return {name: escape(printable(cell)) for name, cell in cells.items()}
