# SPDX-License-Identifier: Apache-2.0
"""``repo-tool deploy``."""

__all__ = ["deploy"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console, show_error

if TYPE_CHECKING:
    from repo_tool.workflows.deploy import Deployed
    from repo_tool.workflows.roll_out import RolledOut


def deploy(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Their names; a pipeline brings what it needs.", autocompletion=complete_model, show_default=False
        ),
    ],
    server: Annotated[
        str, typer.Option(help="grpc://, grpcs://, http:// or https:// host:port.", metavar="URL")
    ] = "grpc://127.0.0.1:8001",
    label: Annotated[
        str | None, typer.Option(help="Points at each model's newest version once that is proven, e.g. stable.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            help="Sent along; repeatable. Everybody on this machine can read it: keys belong into --header-file.",
            metavar="K:V",
        ),
    ] = None,
    header_file: Annotated[
        Path | None,
        typer.Option(
            envvar="REPO_TOOL_HEADER_FILE",
            help="Lines NAME:VALUE that are sent along, e.g. the key of a server with restricted interfaces.",
            show_default=False,
        ),
    ] = None,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="The repository that the server reads, as it is seen from here.")
    ] = Path("model_repository"),
    model_config_name: Annotated[
        str, typer.Option(help="What the server was started with, for configs/NAME.pbtxt.", metavar="NAME")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that loading a model may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Let a running server serve what the repository holds now; the old version answers until the new one is proven.

    The server loads the new version beside the old one. It must have the files that were published, and give the
    answers that were published with them. Only then does the label move, and the old version go. When any of it fails
    all stays as it was, the cause is named, and the exit code is 1.

    Any Triton with --model-control-mode=explicit will do, those on GPUs too.

    **Example:**

        repo-tool deploy churn --server grpc://gpu-server:8001 --label stable
    """
    from repo_tool.workflows.deploy import DeployRequest
    from repo_tool.workflows.deploy import deploy as run

    deployed = run(
        DeployRequest(
            models=tuple(models),
            repository=repository,
            server=server,
            label=label,
            headers=dict(_header(words, of) for words, of in (*_lines(header_file), *_options(header))),
            variant=model_config_name,
            timeout_s=timeout,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(deployed.to_dict(), indent=2))
    else:
        _show(deployed)
    if deployed.refused:
        raise typer.Exit(1)


def _options(header: list[str] | None) -> list[tuple[str, str]]:
    return [(words, "--header") for words in header or ()]


def _lines(path: Path | None) -> list[tuple[str, str]]:
    """The headers in a file, each with where it was found."""
    from repo_tool.errors import UserMistakeError

    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path else []
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserMistakeError(
            f"'{path}' cannot be read", cause=why or str(error), next_step="write NAME:VALUE into it"
        ) from error
    return [(line, f"line {at} of '{path}'") for at, line in enumerate(lines, start=1) if line.strip()]


def _header(words: str, of: str) -> tuple[str, str]:
    from repo_tool.errors import UserMistakeError

    name, colon, value = words.partition(":")
    if not colon or not name.strip():
        raise UserMistakeError(
            f"{of} is no name and value",  # without its words: it may be a key
            cause="there is no ':' behind a name",
            next_step="write it as NAME:VALUE",
        )
    return name.strip(), value.strip()


def _show(deployed: "Deployed") -> None:
    out = console()
    for each in deployed.done:
        out.print(_words(each), markup=False, soft_wrap=True)
    for error in deployed.refused.values():
        show_error(error)


def _words(done: "RolledOut") -> str:
    gone = sorted(set(done.before) - set(done.served))
    words = f"'{done.model}' serves version {', '.join(map(str, done.served))}"
    words += f", and version {', '.join(map(str, gone))} no longer" if gone else ""
    words += "".join(f"; version {version} is unproven: {why}" for version, why in done.unproven.items())
    return words + (f"; '{done.label}' points at version {done.labelled}" if done.labelled else "")
