# SPDX-License-Identifier: Apache-2.0
"""``repo-tool push``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import complete_model
from repo_tool.cli.remote_arguments import AsJson, EndpointUrl, RemoteAddress, TakeOver
from repo_tool.cli.remote_output import run_push

_Models = Annotated[
    list[str] | None,
    typer.Argument(help="With those that they call; without any, all.", autocompletion=complete_model),
]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="Where the models are.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be sent, and send nothing.")]


def push(
    remote: RemoteAddress,
    models: _Models = None,
    repository: _Repository = Path("model_repository"),
    endpoint_url: EndpointUrl = None,
    take_over: TakeOver = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring models to an object store or another folder, where Triton can read them as its repository.

    Only files whose digests are not there yet are sent. What is served there goes on being served: new versions come
    first, configurations after them, and the pointer that `repo-tool pull` follows is switched last. A push that is
    cut off harms nobody, and the next one goes on where it was. Versions never change there, and none is removed.

    **Example:**

        repo-tool push s3://our-bucket/models churn
    """
    from repo_tool.workflows.push_models import PushRequest

    request = PushRequest(
        repository=repository,
        remote=remote,
        models=tuple(models or ()),
        endpoint_url=endpoint_url,
        takes_over=take_over,
        only_tells=dry_run,
    )
    run_push(request, as_json=as_json)
