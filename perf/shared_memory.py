# SPDX-License-Identifier: Apache-2.0
"""From which size on a tensor is quicker through shared memory than in the message: both ways in turns, in one run.

The model gives back what it gets, or one value of it. A ratio above 1 says that shared memory is the faster way.

Example: python perf/shared_memory.py
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from repo_client import Client, _layouts
from repo_tool.bench.machine import describe_machine
from repo_tool.cli.console import console
from repo_tool.triton.server import EmbeddedServer, ServerOptions

RESULTS = Path(__file__).resolve().parent / "results"
_SIZES = (16_384, 65_536, 131_072, 262_144, 602_112, 2_097_152, 8_388_608)
_MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        given = (request.inputs()[0].as_numpy() for request in requests)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", {given})]) for array in given]
"""
_CONFIG = """
backend: "python"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
_MODELS = {"one value": "array[:1]", "all of it": "array"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Microseconds of a call, the median over the turns."""

    protocol: str
    answer: str
    byte_size: int
    message_us: float
    memory_us: float

    @property
    def ratio(self) -> float:
        """How many times as long the call takes whose tensors lie in the message."""
        return self.message_us / self.memory_us

    @property
    def line(self) -> str:
        """Its line in the table."""
        times = f"{self.message_us:.0f} | {self.memory_us:.0f} | {self.ratio:.2f}"
        return f"| {self.protocol} | {self.answer} | {self.byte_size:,} | {times} |"


def measure(calls: int) -> Iterator[Row]:
    """Every size over both protocols.

    Raises:
        SystemExit: the two ways answer differently.
    """
    _layouts.LEAST_BYTES = 1  # what is to be measured must not be decided before
    with TemporaryDirectory() as folder:
        for name, given in _MODELS.items():
            version = Path(folder, name.replace(" ", "_"), "1")
            version.mkdir(parents=True)
            version.joinpath("model.py").write_text(_MODEL.format(given=given), encoding="utf-8")
            version.with_name("config.pbtxt").write_text(_CONFIG, encoding="utf-8")
        with EmbeddedServer(Path(folder), ServerOptions(graceful_stop_s=0, shared_memory=True)) as server:
            server.load_all()
            for url in (f"grpc://{server.grpc_url}", f"http://{server.http_url}"):
                with Client(url, shared_memory="off") as message, Client(url, shared_memory="system") as memory:
                    for name in _MODELS:
                        yield from _rows(url, name, (message, memory), calls)


def _rows(url: str, name: str, clients: tuple[Client, Client], calls: int) -> Iterator[Row]:
    models = [client.model(name.replace(" ", "_")) for client in clients]
    for size in _SIZES:
        array = np.random.default_rng(size).random(size // 4, dtype=np.float32)
        ways = [lambda model=model, array=array: model.infer({"x": array})["y"] for model in models]
        for _ in range(5):  # the answer's size is known to the second way from the third call on
            if not np.array_equal(*(way() for way in ways)):
                raise SystemExit(f"{url}, {size} bytes: the two ways answer differently")
        message, memory = _in_turns(ways, calls)
        protocol = url.partition("://")[0]
        yield Row(protocol=protocol, answer=name, byte_size=size, message_us=message, memory_us=memory)


def _in_turns(ways: list[Callable[[], object]], calls: int) -> list[float]:
    """The median microseconds of each way."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(calls):
        for way, own in zip(ways, times, strict=True):
            started = perf_counter()
            way()
            own.append(perf_counter() - started)
    return [median(own) * 1e6 for own in times]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--into", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine, least = describe_machine(), _layouts.LEAST_BYTES
    rows = list(measure(options.calls))
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    values = {"taken": taken, "machine": asdict(machine), "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}
    lines = [
        "# Shared memory beside the message",
        "",
        f"Medians of {options.calls} calls in turns, {taken[:10]}. Written by `python perf/shared_memory.py`.",
        f"The client shares memory from {least:,} bytes on.",
        f"{machine.summary()}.",
        "",
        "| protocol | answer | bytes | in the message, µs | shared, µs | ratio |",
        "|---|---|---|---|---|---|",
        *(row.line for row in rows),
    ]
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "shared_memory.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (options.into / "shared_memory.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    console().print("\n".join(lines), markup=False)


if __name__ == "__main__":
    main()
