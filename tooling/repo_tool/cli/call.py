# SPDX-License-Identifier: Apache-2.0
"""``repo-tool call``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.console import complete_label, complete_model, console

if TYPE_CHECKING:
    from repo_tool.workflows.call_model import CalledModel

_ROWS_SHOWN, _VALUES_SHOWN = 20, 6


def call(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            "-s",
            help="Rows to send: npz, npy, csv, parquet or json; .png or .jpg to a model that takes pictures as BYTES;"
            " to a pipeline also txt, jsonl or a folder of files."
            " Default: the sample published with the model.",
        ),
    ] = None,
    server: Annotated[
        str, typer.Option(help="grpc://, grpcs://, http:// or https:// host:port.")
    ] = "grpc://127.0.0.1:8001",
    version: Annotated[int | None, typer.Option(min=1, help="Default: the one that the server chooses.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            "-l",
            help="The version that this label of the repository names, e.g. stable.",
            autocompletion=complete_label,
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Send at most this many rows, if the model batches. Default: all.")
    ] = None,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="Where the published sample and the labels are.")
    ] = Path("model_repository"),
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that each request may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Send rows to a served model and show what it answers.

    Without --sample the rows are those that were published with the model, so that the first call needs no data.

    **Example:**

        repo-tool call digits --rows 3
    """
    from repo_tool.workflows.call_model import CallRequest, call_model

    called = call_model(
        CallRequest(
            model=model,
            repository=repository,
            server=server,
            version=version,
            label=label,
            sample=sample,
            rows=rows,
            timeout_s=timeout,
        )
    )
    if as_json:
        import json

        print(json.dumps(_document(called)))
        return
    _show(called)


def _document(called: "CalledModel") -> dict[str, Any]:
    datatypes = {tensor.name: tensor.datatype for tensor in called.signature.outputs}
    return {
        "model": called.signature.name,
        "version": called.version,
        "rows": called.rows,
        "requests": called.requests,
        "round_trip_ms": round(called.round_trip_s * 1e3, 3),
        "outputs": {
            name: {"datatype": datatypes[name], "shape": list(array.shape), "data": _plain(array.tolist())}
            for name, array in called.outputs.items()
        },
    }


def _plain(value: Any) -> Any:
    """Values that JSON has: text for bytes, null for what is no number."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return None if isinstance(value, float) and value - value != 0 else value


def _show(called: "CalledModel") -> None:
    from rich.table import Table

    out = console()
    table = Table(title=f"{called.signature.name}, version {called.version}", title_justify="left", title_style="bold")
    table.add_column("row", justify="right", style="dim")
    for name in called.outputs:
        table.add_column(name)
    shown = 1 if called.rows is None else min(called.rows, _ROWS_SHOWN)
    for row in range(shown):
        arrays = (array if called.rows is None else array[row] for array in called.outputs.values())
        table.add_row(str(row), *(_cell(array) for array in arrays))
    out.print(table)
    if called.rows is not None and called.rows > shown:
        out.print(f"… and {called.rows - shown} more rows: --json has them all", style="dim")
    out.print(_summary(called))


def _summary(called: "CalledModel") -> str:
    sent = "one request" if called.requests == 1 else f"{called.requests} requests"
    rows = "" if called.rows is None else "1 row in " if called.rows == 1 else f"{called.rows} rows in "
    each = f", {called.round_trip_s / called.requests * 1e3:.1f} ms each" if called.requests > 1 else ""
    return f"{rows}{sent}: {called.round_trip_s * 1e3:.1f} ms round trip{each}"


def _cell(array: Any) -> Any:
    """A tensor in a few characters: words for BYTES, rounded numbers, the shape of what is too long to show."""
    from rich.text import Text

    values = [_word(value) for value in array.ravel()[:_VALUES_SHOWN].tolist()]
    if array.size == 1:
        return Text(values[0])
    rest = ", …" if array.size > _VALUES_SHOWN else ""
    shape = f" {list(array.shape)}" if array.ndim > 1 or rest else ""
    return Text(f"{', '.join(values)}{rest}{shape}")


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode(errors="backslashreplace")
        return text if len(text) <= 40 else f"{text[:39]}…"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.5g}"
    return str(value)
