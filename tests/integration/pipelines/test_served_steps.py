# SPDX-License-Identifier: Apache-2.0
"""Every shipped step, on the rows of its cases, gives in a generated model what it gives here."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conformance.steps.all_cases import CASES
from repo_client import Client
from repo_tool.pipelines.placement import PartKind
from repo_tool.pipelines.python_part import python_model
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import StepStage
from repo_tool.triton.server import EmbeddedServer
from support.served_parts import part, write_compiled
from support.step_cases import ROWS, step_for, wires_of

PIPELINE = PipelineFile.model_validate(
    {"name": "any", "inputs": {"x": {"datatype": "FP32", "dims": [1]}}, "steps": [{"use": "softmax"}], "outputs": ["y"]}
)


def wire_name(place: int, tensor: str) -> str:
    """Of a tensor of the step of one case."""
    return f"{tensor}_{place}"


@pytest.fixture(scope="module")
def steps():
    return [step_for(key, case) for key, case in CASES.items()]


@pytest.fixture(scope="module")
def answers(tmp_path_factory, steps):
    """What one model of all steps answers to each row, the rows being sent at the same time."""
    models = tmp_path_factory.mktemp("models")
    write_compiled(models, all_in_one(steps))
    with EmbeddedServer(models) as server:
        server.load("all_steps")
        with Client(f"grpc://{server.grpc_url}") as client, ThreadPoolExecutor(ROWS) as threads:
            return list(threads.map(client.model("all_steps").infer, map(row_of_all, range(ROWS))))


def all_in_one(steps):
    """A model whose tensors are those of all cases, numbered."""
    wires, stages = {}, []
    for place, (step, case) in enumerate(zip(steps, CASES.values(), strict=True)):
        given = wires_of(case)
        told = step.output_wires(given)
        maps = [
            {name: wire_name(place, f"{way}_{name}") for name in each} for way, each in (("in", given), ("out", told))
        ]
        wires |= {maps[0][name]: wire for name, wire in given.items()} | {
            maps[1][name]: wire for name, wire in told.items()
        }
        stages.append(StepStage(step=step, inputs=maps[0], outputs=maps[1], name=f"{step.name}_{place}"))
    reads = [wire for stage in stages for wire in stage.inputs.values()]
    writes = [wire for stage in stages for wire in stage.outputs.values()]
    whole = part("all_steps", stages, reads=reads, writes=writes, kind=PartKind.PYTHON)
    return python_model(whole, PIPELINE, wires)


def row_of_all(row):
    return {
        wire_name(place, f"in_{name}"): np.stack([rows[row]])
        for place, case in enumerate(CASES.values())
        for name, rows in case.inputs.items()
    }


@pytest.mark.parametrize(("place", "key"), list(enumerate(CASES)))
def test_a_step_gives_the_same_in_a_generated_model(answers, steps, place, key):
    here = steps[place].run(CASES[key].inputs)
    for name, rows in here.items():
        for row in range(ROWS):
            served = answers[row][wire_name(place, f"out_{name}")]
            assert served.shape == (1, *rows[row].shape)
            np.testing.assert_array_equal(served[0], rows[row])
