# SPDX-License-Identifier: Apache-2.0
"""What ``push``, ``pull`` and ``sync`` are given alike."""

__all__ = ["AsJson", "EndpointUrl", "RemoteAddress", "TakeOver"]

from typing import Annotated

import typer

RemoteAddress = Annotated[str, typer.Argument(help="s3://BUCKET/FOLDER, or the path of a folder.", show_default=False)]
EndpointUrl = Annotated[
    str | None,
    typer.Option(help="Of the object store, e.g. http://minio:9000; default: Amazon's.", metavar="URL"),
]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over", help="Push in place of somebody who began to and gave up, and over files that nobody pushed."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
