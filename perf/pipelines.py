# SPDX-License-Identifier: Apache-2.0
"""What processing before and after a model costs, in every way that it can be served, in one run.

Each round measures every way once at concurrency 16, so that what else the machine does falls on all of them; ratios
are of one round, and their median counts. perf_analyzer sends the requests; processing in the client is measured with
clients of our own, in Python, and held against the same clients of the merged pipeline.

Example: python perf/pipelines.py --rounds 5
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import numpy as np
from pipeline_models import LABELS, Array, Rows, Workload, jpeg_rows, workloads, write_jpeg_ways, write_ways

from repo_tool.bench.install import PerfAnalyzer, find_or_install
from repo_tool.bench.machine import Machine, describe_machine
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.run import measure
from repo_tool.bench.served import ServerAddress, WireProtocol
from repo_tool.cli.console import console
from repo_tool.triton.server import EmbeddedServer

RESULTS = Path(__file__).resolve().parent / "results"
CONCURRENCY = 16
LEAST_RATIO = 0.90  # of the model alone, that a merged pipeline must reach
CLIENTS = 2  # processes, that share the concurrency among their threads
WAYS = {
    "alone": "the model alone, rows prepared beforehand",
    "numbers": "pipeline, merged to one ONNX graph, that gives probabilities where the model gives logits",
    "merged": "pipeline, merged to one ONNX graph, that gives a label and its probability",
    "parts": "pipeline with `merge: false`: an ensemble with Python before and after",
    "by_hand": "one Python-backend model written by hand",
}
CLIENT_WAYS = {
    "clients_merged": "Python clients of the merged pipeline",
    "clients_process": "Python clients that process, and call the model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One way of one workload: rows answered in a second and latencies, of each round."""

    workload: str
    way: str
    throughputs_per_s: tuple[float, ...]
    p50s_us: tuple[float, ...] = ()
    p99s_us: tuple[float, ...] = ()
    cores: tuple[float, ...] = ()  # that the server kept busy; () where it was not looked at
    ratios: tuple[float, ...] = ()  # to what it is held against, in each round

    @property
    def throughput_per_s(self) -> float:
        """What stands for the rounds."""
        return median(self.throughputs_per_s)

    @property
    def ratio(self) -> float | None:
        """Of one round's figures, the median."""
        return median(self.ratios) if self.ratios else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how long to measure."""

    server: EmbeddedServer
    perf_analyzer: PerfAnalyzer
    window_ms: int

    def level(self, model: str, rows: Rows) -> tuple[float, float, float, float]:
        """Rows in a second, p50 and p99 in microseconds, and the cores that the server kept busy."""
        plan = BenchPlan(
            model=model,
            server=ServerAddress(protocol=WireProtocol.GRPC, location=self.server.grpc_url),
            concurrency=(CONCURRENCY,),
            window_ms=self.window_ms,
            stability_percent=50,  # rounds show how far the machine is from quiet, and medians stand for them
            max_windows=5,
        )
        busy = _Busy(self.server.pid)
        result = measure(
            plan,
            lambda _model: rows,
            perf_analyzer=self.perf_analyzer,
            on_start=lambda _concurrency: busy.start(),
            on_level=lambda _level: busy.stop(),
        )
        (level,) = result.levels
        return level.throughput_per_s, level.p50_us, level.p99_us, busy.cores


class _Busy:
    """The processor time of a process and its children, for each second."""

    def __init__(self, pid: int) -> None:
        self._pid, self.cores = pid, 0.0
        self.start()

    def start(self) -> None:
        """Forget what was before."""
        self._before, self._started = self._used(), monotonic()

    def stop(self) -> None:
        """Take the cores since ``start``."""
        after, lasted = self._used(), monotonic() - self._started
        self.cores = round(sum(used - self._before.get(pid, 0.0) for pid, used in after.items()) / lasted, 2)

    def _used(self) -> dict[int, float]:
        import psutil

        server = psutil.Process(self._pid)
        times = {process.pid: process.cpu_times() for process in (server, *server.children(recursive=True))}
        return {pid: found.user + found.system for pid, found in times.items()}


# --- ways ------------------------------------------------------------------------------------------------------------


def measure_ways(bench: Bench, workload: Workload, rounds: int) -> Iterator[Figure]:
    """All ways of a workload, taking turns."""
    prepared: Rows = {"rows": workload.prepared}
    models = {way: way_model(workload, way) for way in WAYS}
    taken: dict[str, list[tuple[float, ...]]] = {way: [] for way in (*WAYS, *CLIENT_WAYS)}
    for number in range(rounds):
        for way, model in _in_turn(models, number):
            taken[way].append(bench.level(model, prepared if way == "alone" else workload.raw))
        for way in CLIENT_WAYS:
            taken[way].append((_clients_throughput(bench, workload, way),))
        console().print(f"{workload.name}: round {number + 1} of {rounds}", markup=False)
    for way, found in taken.items():
        against = taken["alone" if way in WAYS else "clients_merged"]
        columns = tuple(zip(*found, strict=True))
        latencies = {"p50s_us": columns[1], "p99s_us": columns[2], "cores": columns[3]} if way in WAYS else {}
        ratios = tuple(round(one[0] / other[0], 4) for one, other in zip(found, against, strict=True))
        yield Figure(workload=workload.name, way=way, throughputs_per_s=columns[0], ratios=ratios, **latencies)


def _in_turn(models: Mapping[str, str], number: int) -> list[tuple[str, str]]:
    """Every round begins with another way: what comes first may be luckier."""
    items = list(models.items())
    return items[number % len(items) :] + items[: number % len(items)]


def measure_jpeg(bench: Bench, names: Sequence[str], rounds: int) -> Iterator[Figure]:
    """JPEG in, a label out, with more and more instances of the model that decodes."""
    rows = jpeg_rows()
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            taken[name].append(bench.level(name, rows))
    for name, found in taken.items():
        throughputs, p50s, p99s, cores = zip(*found, strict=True)
        first = taken[names[0]]
        ratios = tuple(round(one[0] / other[0], 4) for one, other in zip(found, first, strict=True))
        yield Figure(
            workload="jpeg",
            way=name,
            throughputs_per_s=throughputs,
            p50s_us=p50s,
            p99s_us=p99s,
            cores=cores,
            ratios=ratios,
        )


# --- clients in Python -----------------------------------------------------------------------------------------------


def _clients_throughput(bench: Bench, workload: Workload, way: str) -> float:
    """Answers in a second to clients in processes of their own."""
    seconds = 3 * bench.window_ms / 1000
    context = multiprocessing.get_context("spawn")
    with context.Pool(CLIENTS) as pool:
        arguments = (bench.server.grpc_url, workload.name, way, seconds, CONCURRENCY // CLIENTS)
        return round(sum(pool.starmap(client_process, [arguments] * CLIENTS)), 1)


def client_process(url: str, workload_name: str, way: str, seconds: float, threads: int) -> float:
    """Answers in a second to the threads of one process, after they have warmed up for half a second."""
    workload = next(each for each in workloads() if each.name == workload_name)
    begin, counts = monotonic() + 1.0, [0] * threads

    def work(place: int) -> None:
        ask, number = asking(url, workload, way), place
        while (now := monotonic()) < begin + seconds:
            ask(number % len(workload.raw[workload.input]))
            number += 1
            counts[place] += now >= begin

    running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / seconds


def asking(url: str, workload: Workload, way: str) -> Callable[[int], bytes]:
    """A function that asks for the label of the row at a place: of the pipeline, or of the model with processing."""
    from tritonclient import grpc
    from tritonclient.utils import np_to_triton_dtype

    client = grpc.InferenceServerClient(url)
    rows = workload.raw[workload.input]
    labels = [label.encode() for label in LABELS]

    def infer(model: str, name: str, array: Array, output: str) -> Array:
        tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        answer: Array = client.infer(model, [tensor], outputs=[grpc.InferRequestedOutput(output)]).as_numpy(output)
        return answer

    def of_pipeline(place: int) -> bytes:
        return bytes(infer(way_model(workload, way), workload.input, rows[place : place + 1], "label").item())

    def with_processing(place: int) -> bytes:
        logits = infer(workload.name, "rows", workload.before(rows[place : place + 1]), "logits")
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return labels[int(probabilities[0].argmax())]

    def of_numbers(place: int) -> bytes:
        row = rows[place : place + 1]
        return labels[int(infer(way_model(workload, way), workload.input, row, "probabilities")[0].argmax())]

    return {"clients_process": with_processing, "numbers": of_numbers}.get(way, of_pipeline)


def way_model(workload: Workload, way: str) -> str:
    """The model that answers in a way."""
    alone = {"alone": workload.name, "clients_process": workload.name, "clients_merged": f"{workload.name}_merged"}
    return alone.get(way, f"{workload.name}_{way}")


def require_equal_answers(url: str, workload: Workload) -> None:
    """Every way has to give the same labels.

    Raises:
        SystemExit: one does not.
    """
    wanted = [asking(url, workload, "clients_process")(place) for place in range(len(workload.raw[workload.input]))]
    for way in WAYS.keys() - {"alone"}:
        found = [asking(url, workload, way)(place) for place in range(len(wanted))]
        if found != wanted:
            raise SystemExit(f"{workload.name}: {way} gives other labels than the model with processing in the client")


# --- reports ---------------------------------------------------------------------------------------------------------


def markdown(
    figures: Sequence[Figure], cut: Mapping[str, Sequence[tuple[str, str]]], machine: Machine, day: str
) -> str:
    """The tables for people."""
    rounds = len(figures[0].throughputs_per_s)
    lines = [
        "# What processing before and after a model costs",
        "",
        f"{machine.summary()}; load {machine.load_average:g} before; {day}.",
        f"Concurrency {CONCURRENCY}, one row a request, gRPC; medians of {rounds} rounds that take turns, ratios of",
        "one round each. Written by `perf/pipelines.py`; every way gave the same labels before it was measured.",
    ]
    for workload in workloads():
        found = {figure.way: figure for figure in figures if figure.workload == workload.name}
        lines += ["", f"## {workload.title[0].upper()}{workload.title[1:]}", "", *_ways_table(found)]
        lines += ["", *(f"* {model}: {reason}" for model, reason in cut[workload.name])]
    lines += ["", *_jpeg_table([figure for figure in figures if figure.workload == "jpeg"]), ""]
    lines += [*(f"{what}: {'kept' if kept else 'BROKEN'}." for what, kept in limits(figures)), ""]
    return "\n".join(lines)


def _ways_table(found: Mapping[str, Figure]) -> Iterator[str]:
    yield "| way | rows/s | p50 | p99 | server, cores | of the model alone, lowest to highest |"
    yield "|---|---:|---:|---:|---:|---:|"
    for way, title in WAYS.items():
        figure = found[way]
        latencies = f"{median(figure.p50s_us) / 1000:.2f} ms | {median(figure.p99s_us) / 1000:.2f} ms"
        cores = f"{median(figure.cores):.2f}"
        yield f"| {title} | {figure.throughput_per_s:,.0f} | {latencies} | {cores} | {_ratio(figure)} |"
    yield ""
    yield f"| {CLIENTS} processes of Python clients | rows/s | of the merged pipeline's, lowest to highest |"
    yield "|---|---:|---:|"
    for way, title in CLIENT_WAYS.items():
        yield f"| {title} | {found[way].throughput_per_s:,.0f} | {_ratio(found[way])} |"


def _ratio(figure: Figure) -> str:
    return f"**{figure.ratio:.2f}** ({min(figure.ratios):.2f} to {max(figure.ratios):.2f})"


def _jpeg_table(figures: Sequence[Figure]) -> Iterator[str]:
    yield "## JPEG in, a label out: instances of the model that decodes"
    yield ""
    yield "Photographs of 500 x 375 pixels, decoded and resized to 224 x 224, then one ONNX graph."
    yield ""
    yield "| instances | images/s | p50 | p99 | server, cores | of one instance, lowest to highest |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for number, figure in enumerate(figures, start=1):
        latencies = f"{median(figure.p50s_us) / 1000:.1f} ms | {median(figure.p99s_us) / 1000:.1f} ms"
        cores = f"{median(figure.cores):.2f}"
        yield f"| {number} | {figure.throughput_per_s:,.0f} | {latencies} | {cores} | {_ratio(figure)} |"


def limits(figures: Sequence[Figure]) -> list[tuple[str, bool]]:
    """What the project promises, and whether it is so."""
    return [
        (
            f"{figure.workload}, {_SHORT[figure.way]}: at least {LEAST_RATIO:.0%} of the model alone".replace(
                "\n", " "
            ),
            figure.ratio is not None and figure.ratio >= LEAST_RATIO,
        )
        for figure in figures
        if figure.way in ("numbers", "merged")
    ]


_INK, _PALE, _BLUE, _ORANGE = "#222222", "#6B6B6B", "#0072B2", "#E69F00"
_SHORT = {
    "alone": "model\nalone",
    "numbers": "merged,\nprobabilities",
    "merged": "merged,\nlabel",
    "parts": "ensemble,\nPython parts",
    "by_hand": "Python model\nby hand",
}


def plot(figures: Sequence[Figure], machine: Machine, path: Path) -> None:
    """Bars of throughput for each way, and over the instances that decode."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(14, 5.4), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(1, 3)
    for place, workload in zip(axes, workloads(), strict=False):
        _draw_ways(place, workload, [figure for figure in figures if figure.workload == workload.name])
    _draw_jpeg(axes[2], [figure for figure in figures if figure.workload == "jpeg"], machine.cores)
    title = f"Processing before and after a model   ·   concurrency {CONCURRENCY}   ·   {machine.summary()}"
    canvas.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    canvas.savefig(path, metadata={"Software": None})


def _draw_ways(axes: Any, workload: Workload, figures: Sequence[Figure]) -> None:
    shown = [figure for figure in figures if figure.way in WAYS]
    heights = [figure.throughput_per_s for figure in shown]
    colours = [_BLUE if figure.way in ("numbers", "merged") else "#BBBBBB" for figure in shown]
    axes.bar([_SHORT[figure.way] for figure in shown], heights, color=colours, width=0.62)
    for place, figure in enumerate(shown):
        spread = [[heights[place] - min(figure.throughputs_per_s)], [max(figure.throughputs_per_s) - heights[place]]]
        axes.errorbar(place, heights[place], yerr=spread, color=_PALE, capsize=4, linewidth=1)
        text = f"{heights[place]:,.0f}" if figure.way == "alone" else f"{heights[place]:,.0f}\n{figure.ratio:.0%}"
        top = max(figure.throughputs_per_s)
        axes.annotate(text, (place, top), (0, 5), textcoords="offset points", ha="center", fontsize=10, color=_INK)
    axes.set_ylim(0, max(max(figure.throughputs_per_s) for figure in shown) * 1.2)
    axes.set_title(workload.title.replace(": ", "\n", 1), loc="left", fontsize=10)
    axes.set_ylabel("rows per second")
    axes.tick_params(axis="x", labelsize=8)
    _plain(axes)


def _draw_jpeg(axes: Any, figures: Sequence[Figure], cores: int) -> None:
    instances = list(range(1, len(figures) + 1))
    axes.plot(instances, [figure.throughput_per_s for figure in figures], marker="o", color=_BLUE)
    axes.set_ylim(0, max(figure.throughput_per_s for figure in figures) * 1.2)
    axes.set_xticks(instances)
    axes.set_xlabel("instances of the model that decodes")
    axes.set_ylabel("images per second", color=_BLUE)
    axes.set_title("JPEG to label\n500 x 375 pixels to 224 x 224, a small network", loc="left", fontsize=10)
    busy = axes.twinx()
    busy.plot(instances, [median(figure.cores) for figure in figures], marker="s", linestyle="--", color=_ORANGE)
    busy.axhline(cores, color=_PALE, linewidth=0.8, linestyle=":")
    busy.set_ylim(0, cores * 1.2)
    busy.set_ylabel(f"cores that the server keeps busy, of {cores}", color=_ORANGE)
    _plain(axes)
    busy.spines["top"].set_visible(False)


def _plain(axes: Any) -> None:
    axes.spines["top"].set_visible(False)
    axes.grid(visible=True, axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:,.10g}")


# --- a run -----------------------------------------------------------------------------------------------------------


def main() -> int:
    """Measure, show, write; 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window-ms", type=int, default=1000, help="three of them at least for each figure")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args()
    machine, started_at = describe_machine(), datetime.now(UTC)
    figures, cut = measured(options.rounds, options.window_ms, machine.cores)
    options.output.mkdir(parents=True, exist_ok=True)
    document = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "machine": asdict(machine),
        "concurrency": CONCURRENCY,
        "parts": cut,
        "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
    (options.output / "pipelines.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = markdown(figures, cut, machine, f"{started_at:%Y-%m-%d}")
    (options.output / "pipelines.md").write_text(text, encoding="utf-8")
    plot(figures, machine, options.output / "pipelines.png")
    console().print(text, markup=False)
    return 0 if all(kept for _, kept in limits(figures)) else 1


def measured(rounds: int, window_ms: int, cores: int) -> tuple[list[Figure], dict[str, list[tuple[str, str]]]]:
    """All figures, and for each workload the parts of its pipelines with the reason for each."""
    figures: list[Figure] = []
    cut: dict[str, list[tuple[str, str]]] = {}
    with tempfile.TemporaryDirectory(prefix="repo-tool-pipelines-") as folder:
        repository = Path(folder, "models")
        repository.mkdir()
        for workload in workloads():
            compiled = write_ways(repository, workload, instances=cores)
            cut[workload.name] = [(part.name, part.reason) for each in compiled.values() for part in each.parts]
        jpeg_names = write_jpeg_ways(repository, cores + 2)
        with EmbeddedServer(repository) as server:
            refused = [outcome for outcome in server.load_all() if not outcome.is_ready]
            if refused:
                raise SystemExit(f"not every model loaded: {refused}")
            bench = Bench(server=server, perf_analyzer=find_or_install(), window_ms=window_ms)
            for workload in workloads():
                require_equal_answers(server.grpc_url, workload)
                figures += measure_ways(bench, workload, rounds)
            figures += measure_jpeg(bench, jpeg_names, rounds)
    return figures, cut


if __name__ == "__main__":
    sys.exit(main())
