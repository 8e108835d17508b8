# SPDX-License-Identifier: Apache-2.0
"""The speed of ``repo_client`` beside ``tritonclient``, against one embedded Triton, in one run.

Every case is the same work for both: arrays in, arrays out, with what each library's own manual tells to write. Both
take turns in short slices, and the order changes from round to round, so that what else the machine does falls on
both; ratios are of one round, and their median counts.

Example: python perf/client_speed.py --rounds 15
"""

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http

from repo_client import AsyncClient, AsyncModel, Client
from repo_tool.bench.machine import Machine, describe_machine
from repo_tool.cli.console import console
from repo_tool.triton.server import EmbeddedServer, ServerOptions

RESULTS = Path(__file__).resolve().parent / "results"
IN_FLIGHT = 64
IMPORT_SHARE = 1.2  # of the time that importing tritonclient.grpc takes, at most
ROW = np.linspace(-1, 1, 30, dtype=np.float32).reshape(1, 30)
PICTURE = np.random.default_rng(7).random((1, 3, 224, 224), dtype=np.float32)  # 602,112 bytes
WORDS = np.array([f"word number {number}" for number in range(10_000)], dtype=object).reshape(1, -1)

# What the models cost must not hide what the clients cost: each does as little as it can.
MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            given = request.inputs()[0]
            kept = given if "{kept}" == "all" else pb_utils.Tensor("y", given.as_numpy().reshape(1, -1)[:, :1000])
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", kept.as_numpy())]))
        return answers
"""
CONFIG = """
backend: "python"
max_batch_size: 8
input [ {{ name: "x" data_type: {datatype} dims: {dims} }} ]
output [ {{ name: "y" data_type: {datatype} dims: [ -1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""
MODELS: Mapping[str, tuple[str, list[int], str]] = {
    "row": ("TYPE_FP32", [30], "all"),
    "picture": ("TYPE_FP32", [3, 224, 224], "first"),
    "words": ("TYPE_STRING", [-1], "all"),
}

Run = Callable[[int], None]  # so many calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table: the same calls by both libraries."""

    title: str
    against: str
    least: float  # ratio of calls per second to be reached
    calls: int  # of one slice
    ours: Run
    theirs: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one case took: calls per second of each round."""

    title: str
    against: str
    least: float | None  # None: told for information
    ours_per_s: tuple[float, ...]
    theirs_per_s: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over theirs, of each round."""
        return tuple(ours / theirs for ours, theirs in zip(self.ours_per_s, self.theirs_per_s, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def is_reached(self) -> bool:
        """Whether the target is."""
        return self.least is None or self.ratio >= self.least


# --- the cases -------------------------------------------------------------------------------------------------------


@contextmanager
def opened(server: EmbeddedServer) -> Iterator[tuple[Case, ...]]:
    """All cases, their clients open."""
    grpc, http = server.grpc_url, server.http_url
    with ExitStack() as stack:

        def ours(scheme_url: str, **options: Any) -> Client:
            return stack.enter_context(Client(scheme_url, **options))

        theirs_grpc = stack.enter_context(tritonclient.grpc.InferenceServerClient(grpc))
        theirs_http = stack.enter_context(tritonclient.http.InferenceServerClient(http))
        network = ours(f"grpc://{grpc}", shared_memory="off")
        web = ours(f"http://{http}", shared_memory="off")
        shared, shared_web = ours(f"grpc://{grpc}"), ours(f"http://{http}")
        runner = stack.enter_context(asyncio.Runner())
        yield (
            _case("1 x 30 floats, gRPC", 0.95, 300, network, theirs_grpc, "row", ROW),
            _case("1 x 30 floats, HTTP", 0.95, 300, web, theirs_http, "row", ROW),
            _case("602,112-byte tensor, gRPC", 1.2, 120, network, theirs_grpc, "picture", PICTURE),
            _case("602,112-byte tensor, shared memory, gRPC", 2.0, 120, shared, theirs_grpc, "picture", PICTURE),
            _case("602,112-byte tensor, shared memory, HTTP", 2.0, 120, shared_web, theirs_grpc, "picture", PICTURE),
            _async_case(grpc, runner, stack),
            _case("10,000 strings, gRPC", 1.5, 12, network, theirs_grpc, "words", WORDS),
            _case("10,000 strings, HTTP", 1.5, 12, web, theirs_http, "words", WORDS),
        )


def _case(title: str, least: float, calls: int, ours: Client, theirs: Any, model: str, array: Any) -> Case:
    library = tritonclient.http if "http" in type(theirs).__module__ else tritonclient.grpc
    opened_model = ours.model(model)

    def call_ours() -> Any:
        return opened_model.infer({"x": array})["y"]

    def call_theirs() -> Any:
        given = library.InferInput("x", list(array.shape), "BYTES" if array.dtype == object else "FP32")
        given.set_data_from_numpy(array)
        return theirs.infer(model, [given], outputs=[library.InferRequestedOutput("y")]).as_numpy("y")

    _require_equal(title, call_ours(), call_theirs())
    return Case(
        title=title,
        against=library.__name__,
        least=least,
        calls=calls,
        ours=_repeated(call_ours),
        theirs=_repeated(call_theirs),
    )


def _require_equal(title: str, ours: Any, theirs: Any) -> None:
    if not np.array_equal(ours, theirs):
        raise SystemExit(f"{title}: the two clients answer differently")


def _repeated(call: Callable[[], Any]) -> Run:
    def run(calls: int) -> None:
        for _ in range(calls):
            call()

    return run


def _async_case(url: str, runner: asyncio.Runner, stack: ExitStack) -> Case:
    async def open_ours() -> tuple[AsyncClient, AsyncModel]:
        client = AsyncClient(f"grpc://{url}", shared_memory="off")
        return client, await client.model("row")

    async def open_theirs() -> Any:
        return tritonclient.grpc.aio.InferenceServerClient(url)

    (client, model), theirs = runner.run(open_ours()), runner.run(open_theirs())
    stack.callback(lambda: runner.run(client.close()))
    stack.callback(lambda: runner.run(theirs.close()))

    async def call_ours() -> Any:
        return (await model.infer({"x": ROW}))["y"]

    async def call_theirs() -> Any:
        given = tritonclient.grpc.aio.InferInput("x", [1, 30], "FP32")
        given.set_data_from_numpy(ROW)
        wanted = [tritonclient.grpc.aio.InferRequestedOutput("y")]
        return (await theirs.infer("row", [given], outputs=wanted)).as_numpy("y")

    title = f"async, {IN_FLIGHT} in flight, 30 floats, gRPC"
    _require_equal(title, runner.run(call_ours()), runner.run(call_theirs()))
    return Case(
        title=title,
        against="tritonclient.grpc.aio",
        least=1.2,
        calls=5120,
        ours=lambda calls: runner.run(_in_flight(call_ours, calls)),
        theirs=lambda calls: runner.run(_in_flight(call_theirs, calls)),
    )


async def _in_flight(call: Callable[[], Any], calls: int) -> None:
    async def work() -> None:
        for _ in range(calls // IN_FLIGHT):
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


# --- measuring -------------------------------------------------------------------------------------------------------


def measured(case: Case, rounds: int) -> Figure:
    """The case, each library in each round once, after one round for warming up."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        sides = ((case.ours, speeds[0]), (case.theirs, speeds[1]))
        for run, found in sides if number % 2 else sides[::-1]:
            gc.collect()
            begun = perf_counter()
            run(case.calls)
            found.append(case.calls / (perf_counter() - begun))
    return Figure(
        title=case.title,
        against=case.against,
        least=case.least,
        ours_per_s=tuple(speeds[0][1:]),
        theirs_per_s=tuple(speeds[1][1:]),
    )


def import_times(rounds: int) -> Figure:
    """How often in a second the packages could be imported, each time by a fresh interpreter."""
    return _started("import", ("import repo_client", "import tritonclient.grpc"), rounds, least=1 / IMPORT_SHARE)


def opening_times(rounds: int) -> Figure:
    """As ``import_times``, until a client of gRPC is made: ours imports gRPC only then, and tritonclient with it."""
    ours = "import repo_client; repo_client.Client('grpc://127.0.0.1:1')"
    theirs = "import tritonclient.grpc as c; c.InferenceServerClient('127.0.0.1:1')"
    return _started("import, and a client for gRPC made", (ours, theirs), rounds, least=None)


def _started(title: str, statements: tuple[str, str], rounds: int, *, least: float | None) -> Figure:
    with tempfile.TemporaryDirectory(prefix="repo-tool-client-speed-") as cache:
        speeds = [tuple(1 / _import_s(statement, cache) for statement in statements) for _ in range(rounds + 1)][1:]
    ours, theirs = zip(*speeds, strict=True)
    return Figure(title=title, against="tritonclient.grpc", least=least, ours_per_s=ours, theirs_per_s=theirs)


def _import_s(statement: str, cache: str) -> float:
    """The time of ``statement`` in an interpreter of its own, which finds in ``cache`` what an earlier one compiled."""
    program = f"from time import perf_counter as t; b = t(); {statement}; print(t() - b)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", program],
        env=environment | {"PYTHONPYCACHEPREFIX": cache},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


@contextmanager
def served() -> Iterator[EmbeddedServer]:
    """A server of the models above."""
    with tempfile.TemporaryDirectory(prefix="repo-tool-client-speed-") as folder:
        for name, (datatype, dims, kept) in MODELS.items():
            version = Path(folder, name, "1")
            version.mkdir(parents=True)
            version.joinpath("model.py").write_text(MODEL.format(kept=kept), encoding="utf-8")
            config = CONFIG.format(datatype=datatype, dims=dims)
            version.parent.joinpath("config.pbtxt").write_text(config, encoding="utf-8")
        with EmbeddedServer(Path(folder), ServerOptions(shared_memory=True)) as server:
            outcomes = server.load_all()
            if not all(outcome.is_ready for outcome in outcomes):
                raise SystemExit(f"not every model loaded: {outcomes}")
            yield server


# --- reports ---------------------------------------------------------------------------------------------------------


def markdown(figures: Sequence[Figure], machine: Machine, day: str) -> str:
    """The table for people."""
    rounds = len(figures[0].ours_per_s)
    lines = [
        "# The client beside tritonclient",
        "",
        f"{machine.summary()}; load {machine.load_average:g} before; {day}.",
        f"Calls per second against one embedded Triton, medians of {rounds} rounds in which both take turns; ratios of",
        "one round each. Checks included. Written by `perf/client_speed.py`; before it, both gave equal arrays.",
        "",
        "| case | repo_client | tritonclient | ratio, lowest to highest | target | |",
        "|---|---:|---:|---:|---:|---|",
        *(_row(figure) for figure in figures),
        "",
    ]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    ours, theirs = median(figure.ours_per_s), median(figure.theirs_per_s)
    spread = f"**{figure.ratio:.2f}** ({min(figure.ratios):.2f} to {max(figure.ratios):.2f})"
    speeds = f"{_speed(ours)} | {_speed(theirs)}"
    return f"| {figure.title}, `{figure.against}` | {speeds} | {spread} | {_target(figure)} |"


def _target(figure: Figure) -> str:
    if figure.least is None:
        return "none |"
    return f"{figure.least:.2f} | {'reached' if figure.is_reached else 'MISSED'}"


def _speed(per_s: float) -> str:
    return f"{1000 / per_s:.0f} ms" if per_s < 20 else f"{per_s:,.0f}/s"


_INK, _PALE, _BLUE, _ORANGE = "#222222", "#6B6B6B", "#0072B2", "#D55E00"


def plot(figures: Sequence[Figure], machine: Machine, path: Path) -> None:
    """A bar for each case: how many times tritonclient's speed, its spread and its target."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(11, 0.62 * len(figures) + 1.6), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for place, figure in enumerate(figures):
        axes.barh(place, figure.ratio, color=_BLUE if figure.is_reached else _ORANGE, height=0.58)
        spread = [[figure.ratio - min(figure.ratios)], [max(figure.ratios) - figure.ratio]]
        axes.errorbar(figure.ratio, place, xerr=spread, color=_PALE, capsize=3, linewidth=1)
        if figure.least is not None:
            axes.plot([figure.least] * 2, [place - 0.38, place + 0.38], color=_INK, linewidth=2)
        text = f"{figure.ratio:.2f} x"
        axes.annotate(text, (max(figure.ratios), place), (6, 0), textcoords="offset points", va="center", color=_INK)
    axes.axvline(1, color=_PALE, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(figures)), [figure.title for figure in figures])
    axes.invert_yaxis()
    axes.set_xlim(0, max(max(figure.ratios) for figure in figures) * 1.12)
    axes.set_xlabel("times the speed of tritonclient; the black mark is the target")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    title = f"repo_client beside tritonclient   ·   {machine.summary()}"
    canvas.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=_INK)
    canvas.savefig(path, metadata={"Software": None})


def main() -> int:
    """Measure, show, write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument("--only", default="", help="the cases whose title holds this; nothing is written")
    options = parser.parse_args()
    machine, started_at = describe_machine(), datetime.now(UTC)
    with served() as server, opened(server) as cases:
        figures = [measured(case, options.rounds) for case in cases if options.only in case.title]
    if not options.only:
        figures += [import_times(options.rounds), opening_times(options.rounds)]
    text = markdown(figures, machine, f"{started_at:%Y-%m-%d}")
    console().print(text, markup=False)
    if not options.only:
        _write(figures, machine, started_at, text, options.output)
    return 0 if all(figure.is_reached for figure in figures) else 1


def _write(figures: Sequence[Figure], machine: Machine, started_at: datetime, text: str, folder: Path) -> None:
    document = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "machine": asdict(machine),
        "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("client_speed.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    folder.joinpath("client_speed.md").write_text(text, encoding="utf-8")
    plot(figures, machine, folder / "client_speed.png")


if __name__ == "__main__":
    sys.exit(main())
