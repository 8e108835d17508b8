# SPDX-License-Identifier: Apache-2.0
"""``repo-tool remove``."""

__all__ = ["remove"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.remove_versions import Removed


def remove(
    model: Annotated[
        str, typer.Argument(help="The name of the model, or of the pipeline.", autocompletion=complete_model)
    ],
    version: Annotated[int | None, typer.Option(min=1, help="That one alone. Default: all of the model.")] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Take a model, or one version of it, out of the repository; a pipeline goes with the models made for it.

    What config.pbtxt loads, what has a label and what another model asks for stays, and the message says why. What
    goes is kept for some days beside the repository, and its number is not used again.

    **Example:**

        repo-tool remove churn --version 1
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.remove_versions import remove_model, remove_version

    place = ModelRepository(repository)
    done = remove_model(place, model) if version is None else remove_version(place, model, version)
    if as_json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
        return
    _show(done, place.private_path / "withdrawn")


def _show(done: "Removed", kept: Path) -> None:
    from repo_tool.repository.publish import WITHDRAWN_FOR_DAYS

    out = console()
    numbers = ", ".join(map(str, done.versions)) or "none"
    plural = "s" if len(done.versions) > 1 else ""
    whole = f" with version{plural} {numbers}" if done.is_whole else ""
    what = f"'{done.model}'{whole}" if done.is_whole else f"version{plural} {numbers} of '{done.model}'"
    out.print(f"removed {what}", markup=False, soft_wrap=True)
    if len(done.models) > 1:
        out.print(f"of its models: {', '.join(done.models)}", markup=False, soft_wrap=True)
    words = f"kept for {WITHDRAWN_FOR_DAYS} days in {kept}; delete that folder to have its room at once"
    out.print(words, markup=False, soft_wrap=True)
