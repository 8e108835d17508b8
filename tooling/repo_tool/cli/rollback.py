# SPDX-License-Identifier: Apache-2.0
"""``repo-tool rollback``."""

__all__ = ["rollback"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_label, complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.roll_back import RolledBack


def rollback(
    model: Annotated[
        str, typer.Argument(help="The name of the model, or of the pipeline.", autocompletion=complete_model)
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="A number, or a label that the version has. Default: the version before the served one.",
            autocompletion=complete_label,
        ),
    ] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Let an earlier version of a model answer again, with its configuration; a pipeline as one with all its parts.

    A real Triton must give the answers that were published with that version before anything changes. The newer
    version stays on disk, and the same command goes forward to it again. Labels of newer versions come along.

    **Example:**

        repo-tool rollback churn --to 1
    """
    from repo_tool.workflows.roll_back import RollBackRequest, roll_back

    done = roll_back(RollBackRequest(model=model, repository=repository, version=to), ConsoleProgress(quiet=as_json))
    if as_json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
        return
    _show(done)


def _show(done: "RolledBack") -> None:
    out = console()
    if done.before == done.version and not done.models:
        out.print(f"'{done.model}' answers with version {done.version} already: nothing to change", markup=False)
        return
    out.print(f"'{done.model}' answers with version {done.version} (before: {done.before or 'none'})", markup=False)
    out.print(f"changed: {', '.join(done.models) or 'nothing'}", markup=False, soft_wrap=True)
    for label, before in done.labels.items():
        out.print(f"label '{label}' moved from version {before} to {done.version}", markup=False, soft_wrap=True)
    if done.before not in (0, done.version):
        way = "back" if done.before < done.version else "forward"
        out.print(f"{way} again: repo-tool rollback {done.model} --to {done.before}", style="bold", markup=False)
