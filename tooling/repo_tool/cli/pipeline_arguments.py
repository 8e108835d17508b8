# SPDX-License-Identifier: Apache-2.0
"""What the commands of ``repo-tool pipeline`` take alike."""

__all__ = ["JsonOption", "RepositoryOption", "SourceArgument"]

from pathlib import Path
from typing import Annotated

import typer


def complete_pipeline(context: typer.Context, incomplete: str) -> list[str]:
    """Published pipelines, and files that may hold one, for the shell's tab completion."""
    repository = Path(context.params.get("repository") or "model_repository")
    published = {found.parts[-3] for found in repository.glob("*/*/pipeline.json")}
    start = Path(incomplete)
    folder = start if incomplete.endswith("/") else start.parent
    files = {str(path) for kind in ("*.yaml", "*.yml", "*.py") for path in folder.glob(kind)}
    folders = {f"{path}/" for path in folder.glob("*/") if not path.name.startswith(".")}
    return sorted(name for name in published | files | folders if name.startswith(incomplete))


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE",
        help="A pipeline file, `file.py:name`, or the name of a published pipeline.",
        autocompletion=complete_pipeline,
    ),
]
RepositoryOption = Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
