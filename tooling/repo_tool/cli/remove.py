# SPDX-License-Identifier: Apache-2.0
"""``repo-tool remove``."""

__all__ = ["remove"]

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.remove_versions import Removed

_Model = Annotated[
    str, typer.Argument(help="The name of the model, or of the pipeline.", autocompletion=complete_model)
]
_Version = Annotated[int | None, typer.Option(min=1, help="That one alone. Default: all of the model.")]
_Now = Annotated[bool, typer.Option("--now", help="Keep nothing of what goes: delete it for good.")]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")]
_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def remove(
    model: _Model,
    version: _Version = None,
    now: _Now = False,
    repository: _Repository = Path("model_repository"),
    as_json: _AsJson = False,
) -> None:
    """Take a model, or one version of it, out of the repository; a pipeline goes with the models made for it.

    What config.pbtxt loads, what has a label and what another model asks for stays, and the message says why. What
    goes is kept for some days beside the repository, unless --now is given, and its number is not used again.

    **Example:**

        repo-tool remove churn --version 1

        repo-tool remove churn --version 1 --now
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.remove_versions import remove_model, remove_version

    place = ModelRepository(repository)
    if version is None:
        done = remove_model(place, model, keeps=not now)
    else:
        done = remove_version(place, model, version, keeps=not now)
    _show(done, place.private_path / "withdrawn", as_json=as_json)


def _show(done: "Removed", kept: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.to_dict(), indent=2))
        return
    out = console()
    numbers = ", ".join(map(str, done.versions)) or "none"
    plural = "s" if len(done.versions) > 1 else ""
    whole = f" with version{plural} {numbers}" if done.is_whole else ""
    what = f"'{done.model}'{whole}" if done.is_whole else f"version{plural} {numbers} of '{done.model}'"
    out.print(f"removed {what}", markup=False, soft_wrap=True)
    if len(done.models) > 1:
        out.print(f"of its models: {', '.join(done.models)}", markup=False, soft_wrap=True)
    out.print(_room(done, kept), markup=False, soft_wrap=True)


def _room(done: "Removed", kept: Path) -> str:
    from repo_tool.remotes.transfer import in_words
    from repo_tool.repository.publish import WITHDRAWN_FOR_DAYS

    if done.freed is not None:
        return f"nothing of it is kept: {in_words(done.freed)} more are free"
    return f"kept for {WITHDRAWN_FOR_DAYS} days in {kept}; delete that folder to have its room at once"
