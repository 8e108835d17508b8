# SPDX-License-Identifier: Apache-2.0
"""``repo-tool add-pipeline``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, console


def add_pipeline(
    file: Annotated[Path, typer.Argument(help="The pipeline file: what happens before and after a model.")],
    sample: Annotated[
        Path,
        typer.Option(
            "--sample", "-s", help="Rows to verify with: npz, npy, csv, parquet, json, an image or a folder of them."
        ),
    ],
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    release: Annotated[
        str | None, typer.Option(help="The Triton release it must load on, e.g. 26.07. Default: docker-compose's.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Allowed difference to the steps run alone: absolute, and relative.")
    ] = 1e-4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but publish.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Compile a pipeline file to a Triton ensemble, prove it on a real server, and publish it.

    Neighbouring steps become one Python-backend model. The ensemble's answers to the sample are compared with its
    steps run one by one before anything appears in the repository.

    **Example:**

        repo-tool add-pipeline pipeline.yaml --sample pictures/
    """
    from repo_tool.releases import DEFAULT_RELEASE
    from repo_tool.verification import Tolerance
    from repo_tool.workflows.add_pipeline import AddPipelineRequest
    from repo_tool.workflows.add_pipeline import add_pipeline as run

    added = run(
        AddPipelineRequest(
            file=file,
            sample=sample,
            repository=repository,
            release=release or DEFAULT_RELEASE,
            tolerance=Tolerance(absolute=tolerance, relative=tolerance),
            dry_run=dry_run,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(added.to_dict(), indent=2))
        return
    from repo_tool.cli.tensors import show_tensors

    out = console()
    show_tensors(added.ensemble, added.version, added.parity)
    out.print(f"models: {' → '.join(added.models[:-1])}", markup=False, soft_wrap=True)
    if not added.published:
        out.print("dry run: nothing was published", style="yellow")
        return
    out.print(f"published {added.directory.version_path(added.version)}", markup=False, soft_wrap=True)
    out.print(f"next: repo-tool serve {repository}", style="bold", markup=False, soft_wrap=True)
