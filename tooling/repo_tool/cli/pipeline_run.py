# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline run``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.console import ConsoleProgress, console, error_console
from repo_tool.cli.pipeline_arguments import JsonOption, RepositoryOption, SourceArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from repo_tool.workflows.trace_pipeline import RanPipeline, Trace, TracedPart
    from repo_tool.workflows.trace_tensors import SeenTensor

_ROWS_SHOWN, _VALUES_SHOWN = 20, 6
_EMBEDDED = "embedded"


def run(
    pipeline: SourceArgument,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            "-s",
            help="Rows to send: a folder of files (pictures, sounds, texts), one of them, json, jsonl, txt, csv, npz,"
            " npy or parquet. Default: those published with the pipeline.",
        ),
    ] = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Which row. Default: all of them; with --trace the first.")
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Ask its models one by one, and show every tensor on the way.")
    ] = False,
    url: Annotated[
        str, typer.Option(help="Where it is served: grpc://, grpcs://, http:// or https:// host:port, or embedded.")
    ] = _EMBEDDED,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Show tensors that are pictures.")] = True,
    repository: RepositoryOption = Path("model_repository"),
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that each request may take.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Send rows through a pipeline, or one row step by step.

    With --trace each Triton model of it is asked by itself, and the steps inside a model run here on the same values.
    The times of models are those of a request and its answer; those of steps are this machine's. The exit code is 1
    when the pipeline refuses the rows, or answers otherwise than its models one by one.

    **Example:**

        repo-tool pipeline run pipeline.yaml --sample pictures/ --row 3 --trace
    """
    from repo_tool.workflows.trace_pipeline import RunRequest, run_pipeline

    ran = run_pipeline(
        RunRequest(
            pipeline=pipeline,
            repository=repository,
            sample=sample,
            row=row,
            trace=trace,
            server=None if url == _EMBEDDED else url,
            timeout_s=timeout,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(ran.to_dict(), indent=2))
    else:
        _show(ran, pictures=pictures)
    if ran.error or (ran.trace is not None and not ran.trace.agrees):
        raise typer.Exit(1)


def _show(ran: "RanPipeline", *, pictures: bool) -> None:
    if ran.trace is not None:
        _show_trace(ran, ran.trace, pictures=pictures)
    elif not ran.error:
        _show_answers(ran)
    if ran.error:
        from repo_tool.printable import printable

        error_console().print(f"refused: {printable(ran.error)}", style="red", markup=False, soft_wrap=True)


# --- the answer ------------------------------------------------------------------------------------------------------


def _show_answers(ran: "RanPipeline") -> None:
    from rich.table import Table

    table = Table(title=ran.name, title_justify="left", title_style="bold")
    table.add_column("row", justify="right", style="dim")
    for name in ran.outputs:
        table.add_column(name)
    answered = len(next(iter(ran.outputs.values())))
    for at in range(min(answered, _ROWS_SHOWN)):
        number = at if ran.row is None else ran.row
        table.add_row(str(number), *(_cell(array[at]) for array in ran.outputs.values()))
    out = console()
    out.print(table)
    if answered > _ROWS_SHOWN:
        out.print(f"… and {answered - _ROWS_SHOWN} more rows: --json has them all", style="dim")
    out.print(f"{ran.seconds * 1e3:.1f} ms a request", style="dim")


def _cell(row: Any) -> "Text":
    import numpy as np
    from rich.text import Text

    from repo_tool.printable import printable

    values = [_value(value) for value in np.ravel(row)[:_VALUES_SHOWN].tolist()]
    rest = f", … {list(np.shape(row))}" if np.size(row) > _VALUES_SHOWN else ""
    return Text(printable(", ".join(values)) + rest)


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- the trace -------------------------------------------------------------------------------------------------------


def _show_trace(ran: "RanPipeline", trace: "Trace", *, pictures: bool) -> None:
    from rich.text import Text

    out = console()
    which = "all rows" if ran.row is None else f"row {ran.row} of {ran.rows}"
    out.print(Text.assemble((ran.name, "bold"), f"  {which} of {ran.origin}"))
    for line in _tensors("sent", trace.inputs, pictures=pictures):
        out.print(line, soft_wrap=True)
    for number, part in enumerate(trace.parts, start=1):
        out.print()
        for line in _part(number, part, pictures=pictures):
            out.print(line, soft_wrap=True)
    out.print()
    out.print(_verdict(ran, trace), soft_wrap=True)


def _part(number: int, part: "TracedPart", *, pictures: bool) -> "Iterator[Text]":
    from rich.text import Text

    from repo_tool.printable import printable

    time = (f"{part.seconds * 1e3:8.2f} ms", "cyan") if not part.error else ("  failed", "bold red")
    yield Text.assemble((f"{number}  {part.model}", "bold"), f"  {part.kind}  ", time)
    yield Text(f"   {printable(part.reason)}", style="dim")
    if part.error:
        yield from _tensors("got", part.reads, pictures=pictures)
    for stage in part.stages:
        mark = ("✗ ", "red") if stage.error else ("· ", "dim")
        where = {"here": "run here", "alone": "asked alone"}[stage.where]
        time_words = (f"{stage.seconds * 1e3:.2f} ms, {where}", "dim")
        yield Text.assemble(
            "   ", mark, stage.title, "  ", (printable(stage.error), "red") if stage.error else time_words
        )
        yield from _tensors("", stage.writes, pictures=pictures, indent=5)
    if part.error:
        yield Text(f"   ✗ {printable(part.error)}", style="red")
    elif not part.stages:
        yield from _tensors("", part.writes, pictures=pictures, indent=5)


def _tensors(word: str, tensors: "tuple[SeenTensor, ...]", *, pictures: bool, indent: int = 3) -> "Iterator[Text]":
    from rich.text import Text

    from repo_tool.printable import printable

    for tensor in tensors:
        lead = f"{word} " if word else ""
        line = Text.assemble(
            f"{' ' * indent}{lead}",
            (printable(tensor.wire), "bold"),
            f"  {tensor.datatype} {list(tensor.shape)}  ",
            _range(tensor),
            (printable(", ".join(tensor.first)) + ("" if len(tensor.first) < _VALUES_SHOWN else ", …"), "dim"),
        )
        yield line
        if pictures and tensor.picture is not None:
            yield _indented(tensor.picture, indent + 2)


def _range(tensor: "SeenTensor") -> str:
    is_one = tensor.low is None or tensor.high is None or tensor.mean is None or len(tensor.first) == 1
    odd = "" if is_one else f"{tensor.low:.4g} … {tensor.high:.4g}, mean {tensor.mean:.4g}  "
    return odd + (f"{tensor.not_finite} NaN or infinite  " if tensor.not_finite else "")


def _indented(picture: Any, indent: int) -> "Text":
    from rich.text import Text

    from repo_tool.cli.thumbnail import thumbnail

    lines = thumbnail(picture, colours=console().color_system is not None and not console().no_color).split("\n")
    text = Text()
    for at, line in enumerate(lines):
        text.append(" " * indent).append_text(line).append("\n" if at + 1 < len(lines) else "")
    return text


def _verdict(ran: "RanPipeline", trace: "Trace") -> "Text":
    from rich.text import Text

    if trace.failed_at:
        return Text.assemble(("failed at ", "bold red"), (trace.failed_at, "bold red"))
    alone = f"its models one by one: {trace.seconds * 1e3:.2f} ms\n"
    whole = alone if ran.error else f"the whole pipeline: {ran.seconds * 1e3:.2f} ms; {alone}"
    if trace.largest_difference == 0:
        return Text.assemble(whole, ("the pipeline gives the same answer, bit for bit", "green"))
    if trace.agrees:
        words = f"the pipeline gives the same answer, but for rounding of {trace.largest_difference:.1g}"
        return Text.assemble(whole, (words, "green"))
    words = "the pipeline gives another answer" if not ran.error else "the pipeline gives no answer"
    far = f": {trace.largest_difference:.3g} apart" if trace.largest_difference not in (None, float("inf")) else ""
    return Text.assemble(whole, (words + far, "bold red"))
