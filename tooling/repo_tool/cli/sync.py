# SPDX-License-Identifier: Apache-2.0
"""``repo-tool sync``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.remote_arguments import AsJson, EndpointUrl, RemoteAddress, TakeOver
from repo_tool.cli.remote_output import run_push

_Repository = Annotated[Path, typer.Option("--repository", "-r", help="What it is to hold.")]
_AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Remove all that is there if this repository has no model.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")]


def sync(
    remote: RemoteAddress,
    repository: _Repository = Path("model_repository"),
    endpoint_url: EndpointUrl = None,
    take_over: TakeOver = False,
    allow_empty: _AllowEmpty = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let an object store or another folder hold what this repository holds: `repo-tool push` that also removes.

    Models and versions that were pushed there and are not here any more go, after what replaces them has come and the
    pointer has been switched. Files that nobody pushed stay, and so does what somebody pushes meanwhile.

    **Example:**

        repo-tool sync s3://our-bucket/models --dry-run
    """
    from repo_tool.workflows.push_models import PushRequest

    request = PushRequest(
        repository=repository,
        remote=remote,
        endpoint_url=endpoint_url,
        removes=True,
        may_empty=allow_empty,
        takes_over=take_over,
        only_tells=dry_run,
    )
    run_push(request, as_json=as_json)
