# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pull``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.remote_arguments import AsJson, EndpointUrl, RemoteAddress


def pull(
    remote: RemoteAddress,
    models: Annotated[
        list[str] | None, typer.Argument(help="With those that they call; without any, all.", show_default=False)
    ] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where the models go.")] = Path(
        "model_repository"
    ),
    endpoint_url: EndpointUrl = None,
    take_theirs: Annotated[
        bool,
        typer.Option(
            "--take-theirs", help="In place of what was changed here, and of what was rolled back or removed."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would come, and fetch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Get models that were pushed to an object store or another folder, and publish them in this repository.

    Only what is not here yet is fetched. Every file is proven by its digest before anything becomes visible, and then
    all of it does at once. A model of which this repository has a newer version stays as it is, and versions that were
    removed here stay away. What labels and pipelines here need stays loaded. What was changed or rolled back here is
    not undone unless told so.

    **Example:**

        repo-tool pull s3://our-bucket/models churn
    """
    from repo_tool.cli.console import ConsoleProgress
    from repo_tool.cli.remote_output import show_transfers
    from repo_tool.workflows.pull_models import PullRequest
    from repo_tool.workflows.pull_models import pull as run

    request = PullRequest(
        repository=repository,
        remote=remote,
        models=tuple(models or ()),
        endpoint_url=endpoint_url,
        takes_theirs=take_theirs,
        only_tells=dry_run,
    )
    transfers = run(request, ConsoleProgress(quiet=as_json))
    show_transfers(transfers, as_json=as_json, only_tells=dry_run)
