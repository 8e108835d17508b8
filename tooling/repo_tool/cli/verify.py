# SPDX-License-Identifier: Apache-2.0
"""``repo-tool verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.verify_model import VerifiedModel

_DEFAULT_SERVER = "grpc://127.0.0.1:8001"


def verify(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    server: Annotated[
        str | None,
        typer.Option(help=f"grpc://, grpcs://, http:// or https:// host:port. Default: {_DEFAULT_SERVER}."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Start an embedded Triton for it instead.")] = False,
    version: Annotated[int | None, typer.Option(min=1, help="Default: the newest.")] = None,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="Where the model was published, with its sample.")
    ] = Path("model_repository"),
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that each request may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Hold a server to what was published: the sample's rows must come back as the framework answered them.

    The rows, the answers and the tolerance are those recorded with the version; its files must have the digests
    recorded with it. The exit code is 1 when anything differs.

    **Example:**

        repo-tool verify churn --server grpc://127.0.0.1:8001
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.workflows.verify_model import VerifyRequest, verify_model

    if serve and server:
        raise UserMistakeError(
            "--serve contradicts --server", cause="the first starts a server of its own", next_step="give one of them"
        )
    verified = verify_model(
        VerifyRequest(
            model=model,
            repository=repository,
            server=None if serve else server or _DEFAULT_SERVER,
            version=version,
            timeout_s=timeout,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(verified.to_dict(), indent=2))
    else:
        _show(verified)
    if not verified.equal:
        raise typer.Exit(1)


def _show(verified: "VerifiedModel") -> None:
    from repo_tool.cli.tensors import show_tensors
    from repo_tool.printable import printable

    out = console()
    if verified.parity is not None:
        show_tensors(verified.config, verified.version, verified.parity)
    complaints = [*verified.file_complaints, *verified.server_complaints, *_differences(verified)]
    for complaint in complaints:
        out.print(printable(complaint), style="red", markup=False, soft_wrap=True)
    out.print("as published" if verified.equal else "not as published")


def _differences(verified: "VerifiedModel") -> list[str]:
    outputs = verified.parity.outputs if verified.parity else ()
    return [
        f"output '{output.name}' {output.words} in sample row {output.worst_row}"
        + ("" if output.complaint else f", {output.allowed} is allowed")
        for output in outputs
        if not output.equal
    ]
