# SPDX-License-Identifier: Apache-2.0
"""``repo-tool client generate``."""

__all__ = ["generate"]

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import complete_model

_DIFFERENCES_SHOWN = 40  # lines


class Language(Enum):
    """In what the clients are written."""

    python = "python"
    typescript = "typescript"


def generate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="The models' names. Default: all of them.", autocompletion=complete_model),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write. `-`: here.")] = Path("-"),
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    server: Annotated[
        str | None,
        typer.Option(
            help="Read the models from a server instead, without their labels and samples: "
            "grpc://, grpcs://, http:// or https:// host:port."
        ),
    ] = None,
    language: Annotated[Language, typer.Option(help="Of the clients.")] = Language.python,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; leave with 1 where the file is not as it would be written.")
    ] = False,
) -> None:
    """Write typed clients for the models: a class each, with their inputs and outputs by name.

    The same models give the same file. Each class holds its model's signature, which its first call compares with the
    one that is served.

    **Example:**

        repo-tool client generate -o clients.py
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.workflows.generate_clients import GenerateRequest, check_suffix, generate_clients, write_clients

    to_screen = str(output) == "-"
    if check and to_screen:
        raise UserMistakeError("--check needs a file to compare with", next_step="name it with -o")
    check_suffix(output, language.value)
    text = generate_clients(
        GenerateRequest(models=models or (), repository=repository, server=server, language=language.value)
    )
    if check:
        _check(output, text)
    elif to_screen:
        print(text, end="")
    else:
        write_clients(output, text)
        print(f"wrote {output}")


def _check(output: Path, text: str) -> None:
    from repo_tool.cli.console import error_console
    from repo_tool.printable import printable
    from repo_tool.workflows.generate_clients import differences

    lines = differences(output, text)
    if not lines:
        print(f"{output} is up to date")
        return
    for line in lines[:_DIFFERENCES_SHOWN]:
        print(printable(line))
    rest = len(lines) - _DIFFERENCES_SHOWN
    more = f", {rest} more lines of differences" if rest > 0 else ""
    said = f"{output} is stale{more}: run repo-tool client generate again"
    error_console().print(said, style="bold red", markup=False, soft_wrap=True)
    raise typer.Exit(1)
