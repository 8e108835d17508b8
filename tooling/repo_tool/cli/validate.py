# SPDX-License-Identifier: Apache-2.0
"""``repo-tool validate``."""

__all__ = ["validate"]

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import complete_model


class OutputFormat(Enum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    GITHUB = "github"


def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="repository",
            help="The model repository, or all that one server is given.  [default: model_repository]",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Only this model. May be repeated.", autocompletion=complete_model),
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option(
            help="The Triton release that must load it, e.g. 24.10. May be repeated.  [default: docker-compose's]"
        ),
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only these rules or families, e.g. SIG. May be repeated.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Not these rules or families. May be repeated.")
    ] = None,
    strict: Annotated[bool | None, typer.Option("--strict/--no-strict", help="Warnings count as findings too.")] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Also load every model in the embedded Triton, with the lowest ONNX limits of the releases."
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show what a client must send to each model and gets.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended without harm, show the changes, and check again.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Only show what --fix would change; leaves with 1 if that is anything.")
    ] = False,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="text for people, the others for programs.")
    ] = OutputFormat.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the findings into this file; only a summary is shown.")
    ] = None,
) -> None:
    """Check a model repository without starting a server: what would Triton refuse, and what would it silently change?

    Leaves with 0 when nothing is wrong, 1 when there are errors (with --strict: or warnings), 2 when it could not look.
    `validate:` in repo-tool.yaml or `[tool.repo-tool.validate]` in pyproject.toml, beside the repository or above it,
    hold a project's choices; options win.

    **Example:**

        repo-tool validate model_repository --release 24.10 --release 26.07 --format sarif --output findings.sarif
    """
    from repo_tool.cli.validate_output import ValidateOutput
    from repo_tool.errors import UserMistakeError
    from repo_tool.workflows.settings import read_common_settings
    from repo_tool.workflows.validate_repository import served_together, validate_repositories

    repositories = served_together(paths or [Path("model_repository")])
    settings = read_common_settings([repository.path for repository in repositories]).overridden(
        select=select, ignore=ignore, releases=release, strict=strict
    )
    chosen = OutputFormat.JSON if as_json else output_format
    if output_format not in (OutputFormat.TEXT, chosen):
        raise UserMistakeError(
            f"--json and --format {output_format.value} are two formats",
            cause="--json is the same as --format json",
            next_step="leave one of them out",
        )
    writer = ValidateOutput(repositories, chosen.value, output=output, explains=explain)
    if fix or diff:
        from repo_tool.workflows.fix_repository import fix_repositories

        fixes = fix_repositories(repositories, settings, models=models, write=not diff)
        if diff:
            raise typer.Exit(writer.write_diff(fixes))
        writer.write_fixes(fixes)
    validated = validate_repositories(repositories, settings, models=models, live=live)
    writer.write(validated)
    if validated.is_failed:
        raise typer.Exit(1)
