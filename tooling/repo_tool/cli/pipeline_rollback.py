# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline rollback``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console


def rollback(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.", autocompletion=complete_model)],
    to: Annotated[int | None, typer.Option("--to", min=1, help="Default: the version before the served one.")] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Let an earlier version of a pipeline answer again: its steps, its own models and its members' versions as one.

    A real Triton must give the answers that were published with that version before anything changes. The newer
    version stays on disk: the same command goes forward to it again.

    **Example:**

        repo-tool pipeline rollback digits_reader --to 1
    """
    from repo_tool.workflows.roll_back_pipeline import RollBackRequest, roll_back_pipeline

    done = roll_back_pipeline(
        RollBackRequest(pipeline=pipeline, repository=repository, version=to), ConsoleProgress(quiet=as_json)
    )
    if as_json:
        import json

        print(json.dumps(done.to_dict(), indent=2))
        return
    out = console()
    out.print(f"'{done.pipeline}' serves version {done.version}, and version {done.before} no longer", markup=False)
    out.print(f"changed: {', '.join(done.models) or 'nothing'}", markup=False, soft_wrap=True)
    way = "back" if done.before < done.version else "forward"
    out.print(
        f"{way} again: repo-tool pipeline rollback {done.pipeline} --to {done.before}", style="bold", markup=False
    )
