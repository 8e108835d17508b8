# SPDX-License-Identifier: Apache-2.0
"""How much memory add-model holds for a large ONNX file: of all its processes together, by copies of the weights.

Counted is anonymous memory (``Anonymous`` of /proc/PID/smaps_rollup): pages of the file itself, mapped, can always go.

Example: python perf/memory.py --gib 2
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper

from repo_tool.bench.machine import describe_machine

RESULTS = Path(__file__).resolve().parent / "results"
REPO_TOOL = str(Path(sys.executable).with_name("repo-tool"))
COLUMNS = 24_000
INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most that add-model and all that it started held at one time."""

    operator: str
    file_gib: float
    anonymous_gib: float

    @property
    def copies(self) -> float:
        """Of the file, in memory at once."""
        return self.anonymous_gib / self.file_gib


def write_model(folder: Path, operator: str, gib: float) -> None:
    """``model.onnx`` with one matrix of ``gib`` beside it, multiplied (MatMul) or looked up in (Gather)."""
    rows = int(gib * 2**30 / 4 / COLUMNS)
    with (folder / "weights.bin").open("wb") as stream:
        random = np.random.default_rng(0)
        for _ in range(0, rows, 1000):
            stream.write(random.standard_normal((1000, COLUMNS), dtype=np.float32).tobytes())
        stream.truncate(rows * COLUMNS * 4)
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[rows, COLUMNS])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    is_product = operator == "MatMul"
    node = helper.make_node(operator, ["x", "weights"] if is_product else ["weights", "x"], ["y"])
    value = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", rows])
        if is_product
        else helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])
    )
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", COLUMNS])
    graph = helper.make_graph([node], "large", [value], [answer], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    sample = np.ones((3, rows), np.float32) if is_product else np.array([0, 1, rows - 1])
    np.savez(folder / "sample.npz", x=sample)


def peak_of(operator: str, gib: float) -> Peak:
    """Make the model, add it, watch."""
    with tempfile.TemporaryDirectory(prefix="repo-tool-memory-") as name:
        folder = Path(name)
        write_model(folder, operator, gib)
        command = [REPO_TOOL, "add-model", "model.onnx", "--name", "large", "--sample", "sample.npz", "--json"]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)  # noqa: S603 - our own command
            most = watch(process)
        if process.returncode != 0:
            sys.exit((folder / "said").read_text(encoding="utf-8"))
        size = (folder / "weights.bin").stat().st_size
    return Peak(operator=operator, file_gib=size / 2**30, anonymous_gib=most / 2**30)


def watch(process: "subprocess.Popen[bytes]") -> int:
    """The most bytes that the process and its descendants held together, until it ends."""
    most, root = 0, psutil.Process(process.pid)
    while True:
        with suppress(psutil.NoSuchProcess):
            most = max(most, sum(map(anonymous, [root, *root.children(recursive=True)])))
        try:
            process.wait(INTERVAL_S)
        except subprocess.TimeoutExpired:
            continue
        return most


def anonymous(process: psutil.Process) -> int:
    """Bytes of a process that no file backs; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:")), 0)


def main() -> None:
    """Measure, and write ``results/memory.md`` and ``.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    gib = parser.parse_args().gib
    peaks = [peak_of(operator, gib) for operator in ("Gather", "MatMul")]
    machine, today = describe_machine(), datetime.now(UTC).date()
    rows = [
        f"| {peak.operator} | {peak.file_gib:.2f} GiB | {peak.anonymous_gib:.2f} GiB | {peak.copies:.2f} |"
        for peak in peaks
    ]
    lines = [
        "# How much memory add-model holds for a large ONNX file",
        "",
        f"{machine.summary()}; {today}. The most that the command, its worker and Triton held together;",
        "pages of the mapped file are not counted, since they can always go. Written by `perf/memory.py`.",
        "",
        "| operator over the weights | weights | most held | copies |",
        "|---|---:|---:|---:|",
        *rows,
    ]
    (RESULTS / "memory.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = {"machine": asdict(machine), "date": str(today), "peaks": [asdict(peak) for peak in peaks]}
    (RESULTS / "memory.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
