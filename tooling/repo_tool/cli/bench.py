# SPDX-License-Identifier: Apache-2.0
"""``repo-tool bench``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.console import ConsoleProgress, complete_model, console

if TYPE_CHECKING:
    from repo_tool.bench.result import BenchResult, Level


_COMPACT: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 1)}  # nine columns on 80 characters


def bench(
    model: Annotated[str, typer.Argument(help="The model, as Triton calls it.", autocompletion=complete_model)],
    server: Annotated[
        str | None, typer.Option(help="grpc://HOST:PORT or http://HOST:PORT. Default: grpc://127.0.0.1:8001.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="grpc or http, at the default port where --server is not given.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Start an embedded Triton on the repository for as long as it takes.")
    ] = False,
    repository: Annotated[
        Path, typer.Option("--repository", "-r", help="The model repository; the model's own sample lies there.")
    ] = Path("model_repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: the highest that is served.")] = None,
    sample: Annotated[
        Path | None,
        typer.Option("--sample", "-s", help="Other rows to send: npz, npy, csv, parquet or json."),
    ] = None,
    concurrency: Annotated[
        str, typer.Option("--concurrency", "-c", help="Requests in flight, one level after another.")
    ] = "1,2,4,8,16,32",
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Rows in each request.")] = 1,
    window_ms: Annotated[int, typer.Option(min=1, help="How long one window lasts; three in a row must agree.")] = 1000,
    window_requests: Annotated[
        int | None, typer.Option(min=1, help="End a window after so many requests instead.")
    ] = None,
    stability: Annotated[float, typer.Option(help="By how many percent the three windows may differ.")] = 10.0,
    max_windows: Annotated[int, typer.Option(min=3, help="Windows to wait for three that agree.")] = 10,
    settle_on: Annotated[
        int | None, typer.Option(min=1, max=99, help="The latency percentile that must settle. Default: the average.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for MODEL.csv, .json and .png.")] = Path(
        "perf/results"
    ),
    plot: Annotated[bool, typer.Option(help="Whether to draw the plot.")] = True,
    perf_analyzer: Annotated[
        Path | None,
        typer.Option(envvar="REPO_TOOL_PERF_ANALYZER", help="Another perf_analyzer than the one that is installed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Measure a served model with NVIDIA's perf_analyzer: throughput and latency over concurrency.

    The requests are the model's own sample rows. A level whose figures did not settle is marked, never left out.

    **Example:**

        repo-tool bench churn --serve --concurrency 1,4,16
    """
    from repo_tool.bench.plan import BenchPlan, parse_levels
    from repo_tool.workflows.bench_model import BenchRequest, bench_model, choose_address

    benched = bench_model(
        BenchRequest(
            plan=BenchPlan(
                model=model,
                server=choose_address(server, protocol, serve=serve),
                version=str(version or ""),
                concurrency=parse_levels(concurrency),
                batch_size=batch_size,
                window_ms=window_ms,
                window_requests=window_requests,
                stability_percent=stability,
                max_windows=max_windows,
                settle_on=settle_on,
            ),
            serve=serve,
            repository=repository,
            sample=sample,
            output=output,
            plot=plot,
            perf_analyzer=perf_analyzer,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(benched.to_dict(), indent=2))
        return
    _show(benched.result)
    for path in benched.report.paths:
        console().print(f"wrote {path}", markup=False, soft_wrap=True)


def _show(result: "BenchResult") -> None:
    from rich.table import Table

    plan, model = result.plan, result.model
    rows = f"{plan.batch_size} row{'s' * (plan.batch_size != 1)} a request"
    title = f"{model.name}, version {model.version}: {plan.server.protocol}, {rows}; times in ms"
    table = Table(title=title, title_justify="left", title_style="bold", **_COMPACT)
    for heading in ("in flight", "rows/s", "p50", "p95", "p99", "queue", "compute", "batch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for level in result.levels:
        table.add_row(*_cells(level), _remark(level, result), style=_style(level, result))
    console().print(table)
    if model.steps:
        _show_steps(result.best)
    console().print(result.machine.summary() + f", load {result.machine.load_average:g} before", style="dim")


def _show_steps(level: "Level") -> None:
    from rich.table import Table

    table = Table(
        title=f"inside, at {level.concurrency} in flight", title_justify="left", title_style="bold", **_COMPACT
    )
    for heading in ("step", "queue", "compute", "batch"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for work in level.work[1:]:
        compute_us = work.compute_input_us + work.compute_infer_us + work.compute_output_us
        cells = (f"{work.queue_us / 1000:.2f}", f"{compute_us / 1000:.2f}", f"{work.average_batch:.1f}")
        table.add_row(work.model, *cells)
    console().print(table)


def _cells(level: "Level") -> list[str]:
    compute_us = level.server_compute_input_us + level.server_compute_infer_us + level.server_compute_output_us
    times_us = [level.p50_us, level.p95_us, level.p99_us, level.server_queue_us, compute_us]
    times = [f"{time_us / 1000:.2f}" for time_us in times_us]
    throughput = f"{level.throughput_per_s:,.{0 if level.throughput_per_s >= 100 else 1}f}"
    return [f"{level.concurrency}", throughput, *times, f"{level.average_batch:.1f}"]


def _remark(level: "Level", result: "BenchResult") -> str:
    remarks = {"best": level is result.best, "knee": level is result.knee, "unsettled": not level.stable}
    return ", ".join(remark for remark, holds in remarks.items() if holds)


def _style(level: "Level", result: "BenchResult") -> str:
    if level is result.best:
        return "bold green"
    return "bold cyan" if level is result.knee else ""
