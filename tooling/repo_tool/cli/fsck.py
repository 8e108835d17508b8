# SPDX-License-Identifier: Apache-2.0
"""``repo-tool fsck``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console
from repo_tool.cli.remote_arguments import AsJson, EndpointUrl

if TYPE_CHECKING:
    from rich.text import Text

    from repo_tool.workflows.fsck_findings import Finding
    from repo_tool.workflows.fsck_repository import Checked, FsckRequest

_Models = Annotated[
    list[str] | None,
    typer.Argument(help="Models to look at. Default: all.", autocompletion=complete_model, show_default=False),
]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="Where the models are.")]
_Repair = Annotated[bool, typer.Option("--repair", help="Finish or undo what can be, and look again.")]
_From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="PLACE",
        show_default=False,
        help="With --repair: get damaged and missing files from where they were pushed to, as for pull.",
    ),
]


def fsck(
    models: _Models = None,
    repository: _Repository = Path("model_repository"),
    repair: _Repair = False,
    source: _From = "",
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check that every published byte is still there, and that nothing is half done.

    Digests of all files are computed again; configurations, journal, labels and pipelines must agree with the
    folders; what killed commands left is told. A configuration that says something else than was published is a
    warning: somebody may have meant it. --repair finishes a change that has begun, removes our own leftovers and
    labels that point nowhere, writes down in the journal what it does not know, stamps configurations, and takes
    back the right of everybody to write. Nothing that a person wrote is removed. The exit code is 1 when anything
    but warnings is left.

    With --from, files of versions come back whose digests provenance.json tells, if the very bytes are there.

    **Example:**

        repo-tool fsck --repair --from s3://our-bucket/models
    """
    from repo_tool.workflows.fsck_repository import FsckRequest

    request = FsckRequest(
        repository=repository, models=tuple(models or ()), repair=repair, source=source, endpoint_url=endpoint_url
    )
    _check(request, as_json=as_json)


def _check(request: "FsckRequest", *, as_json: bool) -> None:
    if request.source and not request.repair:
        raise typer.BadParameter("it says from where --repair gets files: give --repair too", param_hint="--from")
    from repo_tool.workflows.fsck_repository import fsck_repository

    checked = fsck_repository(request, ConsoleProgress(quiet=as_json))
    if as_json:
        print(json.dumps(checked.to_dict(), indent=2))
    else:
        _show(checked)
    if not checked.clean:
        raise typer.Exit(1)


def _show(checked: "Checked") -> None:
    out = console()
    for finding in checked.repaired:
        out.print(_line(finding, mark="✓", style="green"), soft_wrap=True)
    for finding in checked.findings:
        mark, style = ("✗", "red") if finding.severity == "error" else ("!", "yellow")
        out.print(_line(finding, mark=mark, style=style), soft_wrap=True)
        out.print(_remedy(finding, checked.failures.get(finding, "")), soft_wrap=True)
    out.print(_summary(checked), markup=False, soft_wrap=True)


def _line(finding: "Finding", *, mark: str, style: str) -> "Text":
    from rich.text import Text

    from repo_tool.printable import printable

    return Text.assemble((f"{mark} ", style), (finding.kind, "bold"), printable(f" {finding.path}: {finding.words}"))


def _remedy(finding: "Finding", failure: str) -> "Text":
    from rich.text import Text

    from repo_tool.printable import printable_lines

    if failure:
        return Text(f"  not mended: {printable_lines(failure)}", style="red")
    start = "--repair " if finding.repair else "next: "
    return Text(f"  {start}{printable_lines(finding.remedy)}", style="dim")


def _summary(checked: "Checked") -> str:
    size = f"{_counted(checked.models, 'model')}, {_counted(checked.versions, 'version')}"
    mended = f", {len(checked.repaired)} mended" if checked.repaired else ""
    if not checked.findings:
        return f"{size}: all as published{mended}"
    warnings = sum(finding.severity == "warning" for finding in checked.findings)
    told = [(len(checked.findings) - warnings, "finding"), (warnings, "warning")]
    return f"{size}: {', '.join(_counted(number, noun) for number, noun in told if number)}{mended}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
