# SPDX-License-Identifier: Apache-2.0
"""``repo-tool push``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import complete_model
from repo_tool.cli.remote_arguments import AsJson, EndpointUrl, RemoteAddress, TakeOver


def push(
    remote: RemoteAddress,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="With those that they call; without any, all.", autocompletion=complete_model),
    ] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where the models are.")] = Path(
        "model_repository"
    ),
    endpoint_url: EndpointUrl = None,
    take_over: TakeOver = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be sent, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring models to an object store or another folder, where Triton can read them as its repository.

    Only files whose digests are not there yet are sent. What is served there goes on being served: new versions come
    first, configurations after them, and the pointer that `repo-tool pull` follows is switched last. A push that is
    cut off harms nobody, and the next one goes on where it was. Versions never change there, and none is removed.

    **Example:**

        repo-tool push s3://our-bucket/models churn
    """
    from repo_tool.cli.console import ConsoleProgress
    from repo_tool.cli.remote_output import show_transfers
    from repo_tool.workflows.push_models import PushRequest
    from repo_tool.workflows.push_models import push as run

    request = PushRequest(
        repository=repository,
        remote=remote,
        models=tuple(models or ()),
        endpoint_url=endpoint_url,
        takes_over=take_over,
        only_tells=dry_run,
    )
    transfers = run(request, ConsoleProgress(quiet=as_json))
    show_transfers(transfers, as_json=as_json, only_tells=dry_run)
