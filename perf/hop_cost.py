# SPDX-License-Identifier: Apache-2.0
"""What one more model of an ensemble costs: chains of models that answer with what they get, of one to four models.

One client sends one row at a time, in turns to all chains, so that what else the machine does falls on all of them.
The cost of a hop is the difference between the quickest tenths of a chain and of the next shorter one.

Example: python perf/hop_cost.py
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np

from repo_client import Client
from repo_tool.bench.machine import describe_machine
from repo_tool.cli.console import console
from repo_tool.config import pbtxt
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.triton.server import EmbeddedServer

RESULTS = Path(__file__).resolve().parent / "results" / "hop_cost.json"
LENGTHS = (1, 2, 3, 4)
SIZES = (256, 16_384, 150_528, 1_048_576)  # floats a row; the third is a picture of 224 x 224
MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("y", request.inputs()[0].as_numpy())]) for request in requests
        ]
"""
CALLER = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request.inputs()[0].as_numpy()) for request in requests]

    def answer(self, rows):
        asked = pb_utils.InferenceRequest(
            model_name="link1_{size}", requested_output_names=["y"], inputs=[pb_utils.Tensor("x", rows)]
        )
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", asked.exec().output_tensors()[0].as_numpy())])
"""


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        for size in SIZES:
            _write_chains(repository, size)
        with EmbeddedServer(repository) as server:
            outcomes = server.load_all()
            assert all(outcome.is_ready for outcome in outcomes), outcomes  # noqa: S101  # nothing else to measure
            with Client(f"grpc://{server.grpc_url}") as client:
                measured = {size: _measured(client, size, rounds) for size in SIZES}
    figures = {size: _figures(times) for size, times in measured.items()}
    facts = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "machine": asdict(describe_machine())}
    RESULTS.write_text(json.dumps({**facts, "rounds": rounds, "figures": figures}, indent=2) + "\n", encoding="utf-8")
    for size, figure in figures.items():
        console().print(f"{size * 4:>9} bytes a row: {figure}")


def _write_chains(repository: Path, size: int) -> None:
    for length in LENGTHS:
        _write(repository, _model(f"link{length}_{size}", size), MODEL)
        steps = [
            EnsembleStep(
                model_name=f"link{at}_{size}",
                input_map={"x": "x" if at == 1 else f"w{at - 1}"},
                output_map={"y": "y" if at == length else f"w{at}"},
            )
            for at in range(1, length + 1)
        ]
        chain = _model(f"chain{length}_{size}", size, ensemble_scheduling=EnsembleScheduling(steps=tuple(steps)))
        _write(repository, chain, None)
    _write(repository, _model(f"caller_{size}", size), CALLER.replace("{size}", str(size)))


def _model(name: str, size: int, **more: EnsembleScheduling) -> ModelConfig:
    own = InstanceGroup(kind=InstanceKind.KIND_CPU, count=1)
    return ModelConfig(
        name=name,
        backend="" if more else "python",
        platform="ensemble" if more else "",
        max_batch_size=8,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(size,)),),
        outputs=(ModelTensor(name="y", datatype=DataType.FP32, dims=(size,)),),
        instance_groups=() if more else (own,),
        ensemble_scheduling=more.get("ensemble_scheduling"),
    )


def _write(repository: Path, config: ModelConfig, code: str | None) -> None:
    folder = repository / config.name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(pbtxt.render(config, verified=True), encoding="utf-8")
    if code is not None:
        (folder / "1" / "model.py").write_text(code, encoding="utf-8")


def _measured(client: Client, size: int, rounds: int) -> Mapping[str, list[float]]:
    """Microseconds of each request, by chain."""
    names = [f"chain{length}_{size}" for length in LENGTHS] + [f"link1_{size}", f"caller_{size}"]
    row = {"x": np.random.default_rng(0).random((1, size), dtype=np.float32)}
    models = {name: client.model(name) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for at in range(rounds + 10):
        for name, model in models.items():
            start = perf_counter()
            model.infer(row)
            if at >= 10:
                times[name].append((perf_counter() - start) * 1e6)
    return times


def _figures(times: Mapping[str, list[float]]) -> dict[str, float]:
    quick = {name: quantiles(values, n=10)[0] for name, values in times.items()}
    chains = [value for name, value in quick.items() if name.startswith("chain")]
    alone = next(value for name, value in quick.items() if name.startswith("link"))
    caller = next(value for name, value in quick.items() if name.startswith("caller"))
    return {
        "model_alone_us": round(alone),
        "ensemble_of_one_us": round(chains[0]),
        "hop_us": round(median(after - before for before, after in pairwise(chains))),
        "call_us": round(caller - alone),
    }


if __name__ == "__main__":
    main()
