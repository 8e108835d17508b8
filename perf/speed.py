# SPDX-License-Identifier: Apache-2.0
"""How long repo-tool's own commands take, against the limits that the project sets itself.

Example: python perf/speed.py --demo-seconds 95 --test-seconds 310
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from repo_tool.bench.machine import Machine, describe_machine
from repo_tool.cli.console import console

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "perf" / "results"
REPO_TOOL = str(Path(sys.executable).with_name("repo-tool"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Some rounds of one thing, in seconds; the limit is for their median, and None where there is none."""

    what: str
    limit_s: float | None
    rounds_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """What stands for the rounds."""
        return median(self.rounds_s)

    @property
    def verdict(self) -> str:
        """Whether it keeps its limit, in a word."""
        if self.limit_s is None:
            return ""
        return "kept" if self.median_s <= self.limit_s else "BROKEN"

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        figures = {"median_s": self.median_s, "min_s": min(self.rounds_s), "max_s": max(self.rounds_s)}
        return asdict(self) | figures | {"verdict": self.verdict}


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    started = perf_counter()
    action()
    return round(perf_counter() - started, 4)


def run(*command: str) -> None:
    """Run a command to its end in the project's folder; its words are shown if it fails."""
    answer = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if answer.returncode != 0:
        sys.exit(f"{' '.join(command)} left with {answer.returncode}:\n{answer.stdout[-3000:]}")


def command_timing(what: str, limit_s: float | None, rounds: int, *command: str) -> Timing:
    """A command, once for the disk cache and then ``rounds`` times."""
    run(*command)
    return Timing(what=what, limit_s=limit_s, rounds_s=tuple(timed(lambda: run(*command)) for _ in range(rounds)))


def start_timings(rounds: int) -> Iterator[Timing]:
    """An embedded Triton with five ONNX models: from nothing to all of them ready, and from there to gone."""
    from repo_tool.triton.server import EmbeddedServer

    ready, gone = [], []
    with tempfile.TemporaryDirectory(prefix="repo-tool-speed-") as folder:
        repository = five_onnx_models(Path(folder, "models"))
        for _ in range(rounds):
            server = EmbeddedServer(repository)
            started = perf_counter()
            with server:
                outcomes = server.load_all()
                ready.append(round(perf_counter() - started, 4))
                if not all(outcome.is_ready for outcome in outcomes):
                    sys.exit(f"not every model loaded: {outcomes}")
                leaving = perf_counter()
            gone.append(round(perf_counter() - leaving, 4))
    yield Timing(what="embedded Triton ready, 5 ONNX models", limit_s=3.0, rounds_s=tuple(ready))
    yield Timing(what="embedded Triton stopped", limit_s=5.0, rounds_s=tuple(gone))


def five_onnx_models(repository: Path) -> Path:
    """Logistic regressions on the wine data, of five strengths: small, and each another graph."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression

    features, labels = load_wine(return_X_y=True)
    features = features.astype("float32")
    for number in range(1, 6):
        estimator = LogisticRegression(C=0.1 * number, max_iter=5000).fit(features / features.max(0), labels)
        onnx = to_onnx(estimator, features[:1], options={"zipmap": False}, target_opset=17)
        onnx.ir_version = 8
        folder = repository / f"wine_{number}" / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(onnx.SerializeToString())
        (folder.parent / "config.pbtxt").write_text(_config(f"wine_{number}", onnx.graph))
    return repository


def _config(name: str, graph: Any) -> str:
    label, probabilities = (output.name for output in graph.output)
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "{graph.input[0].name}" data_type: TYPE_FP32 dims: [ 13 ] }} ]
output [
  {{ name: "{label}" data_type: TYPE_INT64 dims: [ 1 ] reshape {{ shape: [ ] }} }},
  {{ name: "{probabilities}" data_type: TYPE_FP32 dims: [ 3 ] }}
]
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
"""


def add_model_timing(rounds: int) -> Timing:
    """A scikit-learn Pipeline, from its file to a verified version, each time in an empty repository."""
    import joblib
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with tempfile.TemporaryDirectory(prefix="repo-tool-speed-") as folder:
        source, repository = Path(folder, "wine.joblib"), Path(folder, "models")
        joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_wine(return_X_y=True)), source)
        rounds_s = []
        for _ in range(rounds):
            shutil.rmtree(repository, ignore_errors=True)
            command = (REPO_TOOL, "add-model", str(source), "--name", "wine", "--repository", str(repository))
            rounds_s.append(timed(partial(run, *command)))
    return Timing(what="repo-tool add-model, scikit-learn, verified on Triton", limit_s=6.0, rounds_s=tuple(rounds_s))


def target_timing(target: str, limit_s: float, given_s: float | None, *, measured: bool) -> Iterator[Timing]:
    """``make TARGET``, if its time was given or is to be taken; one round, as it takes minutes."""
    seconds = timed(lambda: run("make", target)) if measured else given_s
    if seconds is not None:
        yield Timing(what=f"make {target}", limit_s=limit_s, rounds_s=(seconds,))


def timings(options: argparse.Namespace) -> Iterator[Timing]:
    """Everything, in the order of the tables."""
    rounds = options.rounds
    yield command_timing("python -c pass, to compare with", None, 2 * rounds, sys.executable, "-c", "pass")
    yield command_timing("repo-tool --help", 0.4, 2 * rounds, REPO_TOOL, "--help")
    yield from start_timings(rounds)
    yield add_model_timing(rounds)
    yield from target_timing("demo", 180.0, options.demo_seconds, measured=options.measure_demo)
    yield from target_timing("test", 600.0, options.test_seconds, measured=options.measure_test)


def markdown(taken: list[Timing], machine: Machine, day: str) -> str:
    """The table for people."""
    lines = [
        "# How long repo-tool takes",
        "",
        f"{machine.summary()}; load {machine.load_average:g} before; {day}. Medians; written by `perf/speed.py`.",
        "",
        "| what | median | fastest | slowest | rounds | limit | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for timing in taken:
        figures = (timing.median_s, min(timing.rounds_s), max(timing.rounds_s))
        limit = f"{timing.limit_s:g} s" if timing.limit_s else ""
        cells = [timing.what, *(f"{figure:.2f} s" for figure in figures), str(len(timing.rounds_s)), limit]
        lines.append(f"| {' | '.join([*cells, timing.verdict])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, show, write; 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of what takes seconds; commands get twice as many")
    for target in ("demo", "test"):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(f"--{target}-seconds", type=float, help=f"how long 'make {target}' took")
        group.add_argument(f"--measure-{target}", action="store_true", help=f"run 'make {target}' and take its time")
    options = parser.parse_args()
    machine, started_at, taken = describe_machine(), datetime.now(UTC), []
    for timing in timings(options):
        taken.append(timing)
        console().print(f"{timing.what:<55} {timing.median_s:8.3f} s  {timing.verdict}", markup=False)
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "machine": asdict(machine),
        "timings": [timing.to_dict() for timing in taken],
    }
    (RESULTS / "speed.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "speed.md").write_text(markdown(taken, machine, f"{started_at:%Y-%m-%d}"), encoding="utf-8")
    return int(any(timing.verdict == "BROKEN" for timing in taken))


if __name__ == "__main__":
    sys.exit(main())
