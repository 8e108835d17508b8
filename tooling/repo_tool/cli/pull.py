# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pull``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.remote_arguments import AsJson, EndpointUrl, RemoteAddress
from repo_tool.cli.remote_output import run_pull

_Models = Annotated[
    list[str] | None, typer.Argument(help="With those that they call; without any, all.", show_default=False)
]
_Repository = Annotated[Path, typer.Option("--repository", "-r", help="Where the models go.")]
_TakeTheirs = Annotated[
    bool,
    typer.Option("--take-theirs", help="In place of what was changed here, and of what was rolled back or removed."),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would come, and fetch nothing.")]


def pull(
    remote: RemoteAddress,
    models: _Models = None,
    repository: _Repository = Path("model_repository"),
    endpoint_url: EndpointUrl = None,
    take_theirs: _TakeTheirs = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Get models that were pushed to an object store or another folder, and publish them in this repository.

    Only what is not here yet is fetched. Every file is proven by its digest before anything becomes visible, and then
    all of it does at once. A model that is newer here stays as it is, and versions that were removed here stay away.
    What labels and pipelines here need stays loaded. What was changed or rolled back here is not undone unless told so.

    **Example:**

        repo-tool pull s3://our-bucket/models churn
    """
    from repo_tool.workflows.pull_models import PullRequest

    request = PullRequest(
        repository=repository,
        remote=remote,
        models=tuple(models or ()),
        endpoint_url=endpoint_url,
        takes_theirs=take_theirs,
        only_tells=dry_run,
    )
    run_pull(request, as_json=as_json)
