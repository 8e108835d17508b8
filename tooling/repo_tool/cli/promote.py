# SPDX-License-Identifier: Apache-2.0
"""``repo-tool promote``."""

__all__ = ["promote"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_label, complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.promote_version import Promoted


def promote(
    model: Annotated[
        str, typer.Argument(help="The name of the model, or of the pipeline.", autocompletion=complete_model)
    ],
    label: Annotated[str, typer.Option("--label", "-l", help="E.g. stable or canary.", autocompletion=complete_label)],
    version: Annotated[
        str,
        typer.Option(
            help="A number, or a label that the version has. Default: the newest that is served.",
            autocompletion=complete_label,
        ),
    ] = "",
    drop: Annotated[bool, typer.Option("--drop", help="Take the label off instead.")] = False,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Let a label point at a version; clients that call the model by the label follow at once.

    A labelled version stays loaded when newer ones are added. One that is not loaded has to give the answers that were
    published with it on a real Triton first. A server that runs already has to have loaded it: `deploy` sees to that.

    **Example:**

        repo-tool promote churn --version canary --label stable
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.promote_version import PromoteRequest, drop_label, promote_version

    if drop and version:
        raise UserMistakeError(
            "--drop contradicts --version", cause="a label that is taken off points nowhere", next_step="give one"
        )
    if drop:
        done = drop_label(ModelRepository(repository), model, label)
    else:
        request = PromoteRequest(model=model, label=label, version=version, repository=repository)
        done = promote_version(request, ConsoleProgress(quiet=as_json))
    if as_json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
        return
    _show(done)


def _show(done: "Promoted") -> None:
    out = console()
    before = f"version {done.before}" if done.before else "nowhere"
    if done.version is None:
        out.print(f"label '{done.label}' of '{done.model}' points nowhere now (before: {before})", markup=False)
        return
    words = f"label '{done.label}' of '{done.model}' points at version {done.version} (before: {before})"
    out.print(words, markup=False, soft_wrap=True)
    if not done.was_loaded:
        words = f"version {done.version} is loaded too now; calls without a version or label go to {done.newest}"
        out.print(words, markup=False, soft_wrap=True)
