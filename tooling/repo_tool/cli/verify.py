# SPDX-License-Identifier: Apache-2.0
"""``repo-tool verify``."""

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console


def verify(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    server: Annotated[
        str, typer.Option(help="grpc://, grpcs://, http:// or https:// host:port.")
    ] = "grpc://127.0.0.1:8001",
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
    from repo_tool.cli.tensors import show_tensors
    from repo_tool.workflows.verify_model import VerifyRequest, verify_model

    verified = verify_model(
        VerifyRequest(
            model=model,
            repository=repository,
            server=None if serve else server,
            version=version,
            timeout_s=timeout,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(verified.to_dict(), indent=2))
    else:
        out = console()
        show_tensors(verified.config, verified.version, verified.parity)
        for complaint in verified.file_complaints:
            out.print(complaint, style="red", markup=False, soft_wrap=True)
        for output in verified.parity.outputs:
            if not output.equal:
                words = output.complaint or f"by {output.largest_absolute:.3g}, {verified.tolerance.words} is allowed"
                out.print(f"output '{output.name}' differs: {words}", style="red", markup=False, soft_wrap=True)
        out.print("as published" if verified.equal else "not as published")
    if not verified.equal:
        raise typer.Exit(1)
