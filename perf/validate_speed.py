# SPDX-License-Identifier: Apache-2.0
"""How long ``repo-tool validate`` takes and how much memory it holds, from ten models to ten thousand.

Of a thousand models 600 are ONNX files, 200 are Python models and 200 are ensembles of two or three of them, each with
a configuration as add-model writes it. The command is run as a person runs it, start of Python included.

Example: python perf/validate_speed.py --sizes 10,1000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from repo_tool.bench.machine import Machine, describe_machine
from repo_tool.cli.console import console
from repo_tool.config import pbtxt
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, ModelTensor, VersionPolicy
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType

RESULTS = Path(__file__).resolve().parent / "results"
REPO_TOOL = str(Path(sys.executable).with_name("repo-tool"))
WIDTHS = (4, 64, 256)  # columns of the ONNX models; the widest has 256 KiB of weights
LIMIT_S, LIMIT_MIB, LIMIT_ONE_S = 3.0, 300.0, 0.5
PYTHON_MODEL = "class TritonPythonModel:\n    def execute(self, requests):\n        return [None for _ in requests]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Some rounds over one repository: seconds, and the most resident memory of the command and its workers."""

    models: int
    rounds_s: tuple[float, ...]
    peak_mib: float

    @property
    def median_s(self) -> float:
        """What stands for the rounds."""
        return median(self.rounds_s)


def write_repository(repository: Path, models: int) -> None:
    """``models`` models in the proportions that the module names."""
    onnx_files = {width: _linear(width) for width in WIDTHS}
    for number in range(models):
        kind = number % 5
        width = WIDTHS[number // 5 % len(WIDTHS)]
        if kind < 3:
            _write(repository, _single(f"onnx_{number}", "onnxruntime", width), {"model.onnx": onnx_files[width]})
        elif kind == 3:
            _write(repository, _single(f"python_{number}", "python", width), {"model.py": PYTHON_MODEL.encode()})
        else:
            members = [f"onnx_{number - 4}", f"onnx_{number - 3}", f"python_{number - 1}"][: 2 + number % 2]
            _write(repository, _ensemble(f"ensemble_{number}", members, width), {".gitkeep": b""})


def _write(repository: Path, config: ModelConfig, files: dict[str, bytes]) -> None:
    version = repository / config.name / "1"
    version.mkdir(parents=True)
    for name, content in files.items():
        (version / name).write_bytes(content)
    (version.parent / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")


def _tensor(name: str, width: int) -> ModelTensor:
    return ModelTensor(name=name, datatype=DataType.FP32, dims=(width,))


def _single(name: str, backend: str, width: int) -> ModelConfig:
    return ModelConfig(
        name=name,
        backend=backend,
        max_batch_size=32,
        inputs=(_tensor("x", width),),
        outputs=(_tensor("y", width),),
        dynamic_batching=DynamicBatching(),
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_AUTO, count=1),),
        version_policy=VersionPolicy(latest=1),
        parameters={"intra_op_thread_count": "2"} if backend == "onnxruntime" else {},
    )


def _ensemble(name: str, members: Sequence[str], width: int) -> ModelConfig:
    """A chain: each member reads what the one before it wrote."""
    tensors = ["x", *(f"between_{index}" for index in range(1, len(members))), "y"]
    steps = tuple(
        EnsembleStep(model_name=member, input_map={"x": tensors[index]}, output_map={"y": tensors[index + 1]})
        for index, member in enumerate(members)
    )
    return ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=32,
        inputs=(_tensor("x", width),),
        outputs=(_tensor("y", width),),
        version_policy=VersionPolicy(latest=1),
        ensemble_scheduling=EnsembleScheduling(steps=steps),
    )


def _linear(width: int) -> bytes:
    """A dense layer with tanh: three nodes, the weights inside."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(width)
    weights = [
        numpy_helper.from_array(random.standard_normal((width, width)).astype("float32"), "w"),
        numpy_helper.from_array(random.standard_normal(width).astype("float32"), "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["xwb"]),
        helper.make_node("Tanh", ["xwb"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def measure(repository: Path, models: int, rounds: int) -> Figure:
    """Run the command once for the disk cache, then ``rounds`` times."""
    command = [REPO_TOOL, "validate", str(repository)]
    seconds = []
    for _ in range(rounds + 1):
        started = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        seconds.append(round(perf_counter() - started, 4))
        if done.returncode != 0:
            sys.exit(f"validate left with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    # Of all children waited for so far: the sizes are taken in ascending order.
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Figure(models=models, rounds_s=tuple(seconds[1:]), peak_mib=round(peak_mib, 1))


def markdown(figures: Sequence[Figure], machine: Machine, day: str) -> str:
    """The table for people."""
    lines = [
        "# How long `repo-tool validate` takes",
        "",
        f"{machine.summary()}; load {machine.load_average:g} before; {day}. Medians.",
        "Three of five models are ONNX files, one is a Python model, one an ensemble; the whole command is timed by",
        "`perf/validate_speed.py`.",
        "",
        "| models | median | fastest | slowest | rounds | models/s | peak memory |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for figure in figures:
        timed = f"{figure.median_s:.2f} s | {min(figure.rounds_s):.2f} s | {max(figure.rounds_s):.2f} s"
        speed = f"{figure.models / figure.median_s:,.0f}"
        lines.append(f"| {figure.models:,} | {timed} | {len(figure.rounds_s)} | {speed} | {figure.peak_mib:.0f} MiB |")
    verdicts = "; ".join(f"{what}: {'kept' if kept else 'BROKEN'}" for what, kept in limits(figures))
    return "\n".join(lines) + f"\n\nLimits: {verdicts}.\n"


def limits(figures: Sequence[Figure]) -> list[tuple[str, bool]]:
    """What the project promises, and whether it is so."""
    by_size = {figure.models: figure for figure in figures}
    found = []
    if one := by_size.get(1):
        found.append((f"one model under {LIMIT_ONE_S:g} s", one.median_s < LIMIT_ONE_S))
    if thousand := by_size.get(1000):
        found.append((f"1,000 models under {LIMIT_S:g} s", thousand.median_s < LIMIT_S))
        found.append((f"1,000 models under {LIMIT_MIB:g} MiB", thousand.peak_mib < LIMIT_MIB))
    return found


def plot(figures: Sequence[Figure], path: Path) -> None:
    """Seconds over models, both logarithmic, with a straight line to compare with."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(7, 4.2), layout="constrained")
    axes = canvas.subplots()
    sizes = [figure.models for figure in figures]
    axes.loglog(sizes, [figure.median_s for figure in figures], marker="o", label="repo-tool validate")
    last = figures[-1]
    axes.loglog(
        sizes, [last.median_s * size / last.models for size in sizes], linestyle=":", color="grey", label="proportional"
    )
    axes.scatter([1000], [LIMIT_S], marker="_", s=400, color="tab:red", label=f"limit: 1,000 models in {LIMIT_S:g} s")
    axes.set(xlabel="models in the repository", ylabel="seconds, whole command", title="Validating a repository")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    canvas.savefig(path, dpi=120)


def main() -> int:
    """Measure, show, write; 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,10,100,1000,10000", help="numbers of models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args()
    machine, day = describe_machine(), datetime.now(UTC).date().isoformat()
    figures = []
    for models in sorted(int(size) for size in options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="repo-tool-validate-") as folder:
            write_repository(Path(folder), models)
            figures.append(measure(Path(folder), models, options.rounds if models <= 1000 else min(options.rounds, 3)))
        console().print(
            f"{models:>7,} models {figures[-1].median_s:8.2f} s {figures[-1].peak_mib:7.0f} MiB", markup=False
        )
    options.output.mkdir(parents=True, exist_ok=True)
    kept = {"machine": asdict(machine), "day": day, "figures": [asdict(figure) for figure in figures]}
    (options.output / "validate_speed.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    (options.output / "validate_speed.md").write_text(markdown(figures, machine, day), encoding="utf-8")
    plot(figures, options.output / "validate_speed.png")
    return 0 if all(kept for _, kept in limits(figures)) else 1


if __name__ == "__main__":
    sys.exit(main())
