# SPDX-License-Identifier: Apache-2.0
"""``repo-tool doctor``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from repo_tool.workflows.examination import Finding

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "bold yellow"), "error": ("✗", "bold red")}


def doctor(
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where models are to be published.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Tell whether this machine can publish and serve models, and what to do where it cannot.

    Looks at the embedded Triton (its libraries, its Python, a real start, its known vulnerabilities), ports, shared
    memory, disks, limits of the container, features of the kernel, and the GPU. The exit code is 1 when something
    cannot work.

    **Example:**

        repo-tool doctor
    """
    from repo_tool.cli.console import ConsoleProgress
    from repo_tool.workflows.examine_machine import examine

    findings = examine(repository, ConsoleProgress(quiet=as_json))
    is_fit = not any(finding.state == "error" for finding in findings)
    if as_json:
        print(json.dumps({"fit": is_fit, "findings": [finding.to_dict() for finding in findings]}, indent=2))
    else:
        _show(findings)
    if not is_fit:
        raise typer.Exit(1)


def _show(findings: "Sequence[Finding]") -> None:
    from rich.text import Text

    from repo_tool.cli.console import console
    from repo_tool.printable import printable

    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        line = Text.assemble(_MARKS[finding.state], f" {finding.topic:<{width}}  ", printable(finding.words))
        if finding.next_step:
            line.append("\n" + " " * (width + 4) + "next: ", style="bold").append(printable(finding.next_step))
        console().print(line, soft_wrap=True)
    errors, warnings = (sum(finding.state == state for finding in findings) for state in ("error", "warning"))
    words = "something cannot work" if errors else "everything can work"
    counted = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    console().print(f"{words}: {counted}", style="bold red" if errors else "bold green")
