# SPDX-License-Identifier: Apache-2.0
"""The embedded ``pytorch`` backend: TorchScript and exported programs of every data type, checked at load."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from repo_tool.errors import LoadRefusedError
from support.arrays import assert_same, rows
from support.inference import infer
from support.onnx_cases import io, parameter

torch = pytest.importorskip("torch")

TYPES = ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
ARGUMENTS = tuple(f"x{position}" for position in range(len(TYPES)))
ONE_THREAD = parameter("INTRA_OP_THREAD_COUNT", "1")


class Echo(torch.nn.Module):
    """Gives back a tensor of each type."""

    def forward(self, x0, x1, x2, x3, x4, x5, x6, x7, x8):  # noqa: PLR0917 - one argument per type
        return x0, x1.clone(), x2.clone(), x3.clone(), x4.clone(), x5.clone(), x6.clone(), x7.clone(), x8.clone()


class SumAndDouble(torch.nn.Module):
    """One tensor with a row per row, one without."""

    def forward(self, x):
        return x.sum(), x * 2


def write(repository, name, save, inputs, outputs, *, batch=4, extra=ONE_THREAD):
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    save(folder)
    lines = [f'name: "{name}"\nbackend: "pytorch"\nmax_batch_size: {batch}', extra]
    lines += [io("input", *each) for each in inputs] + [io("output", *each) for each in outputs]
    lines.append("instance_group { count: 1 kind: KIND_CPU }")
    (folder.parent / "config.pbtxt").write_text("\n".join(lines))


def scripted(module):
    return lambda folder: torch.jit.script(module).save(str(folder / "model.pt"))


def exported(module, *samples):
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(module, samples, dynamic_shapes=tuple({0: batch} for _ in samples))
    return lambda folder: torch.export.save(program, str(folder / "model.pt2"))


def samples():
    return [torch.from_numpy(rows(name)) for name in TYPES]


EVERY_OUTPUT = [(f"OUTPUT__{position}", name, [3]) for position, name in enumerate(TYPES)]


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_every_data_type_comes_back_as_it_went(repository, server, client, kind):
    model = f"echo_{kind}"
    inputs = [(argument, name, [3]) for argument, name in zip(ARGUMENTS, TYPES, strict=True)]
    save = scripted(Echo()) if kind == "torchscript" else exported(Echo(), *samples())
    write(repository, model, save, inputs, EVERY_OUTPUT)
    server.load(model)
    feeds = {argument: rows(name) for argument, name in zip(ARGUMENTS, TYPES, strict=True)}
    expected = {f"OUTPUT__{position}": rows(name) for position, name in enumerate(TYPES)}
    assert_same(infer(client, model, feeds), expected)


def test_inputs_may_be_named_by_position(repository, server, client):
    class Difference(torch.nn.Module):
        def forward(self, minuend, subtrahend):
            return minuend - subtrahend

    inputs = [("B__1", "FP32", [3]), ("A__0", "FP32", [3])]
    write(
        repository,
        "difference",
        exported(Difference(), torch.zeros(2, 3), torch.ones(2, 3)),
        inputs,
        [("D__0", "FP32", [3])],
    )
    server.load("difference")
    feeds = {"B__1": np.full((2, 3), 1, np.float32), "A__0": np.full((2, 3), 5, np.float32)}
    assert_same(infer(client, "difference", feeds), {"D__0": np.full((2, 3), 4, np.float32)})


def test_an_output_without_rows_is_answered_like_nvidias_backend_answers_it(repository, server, client):
    outputs = [("SUM__0", "FP32", [1]), ("TWICE__1", "FP32", [3])]
    write(repository, "rowless", scripted(SumAndDouble()), [("x", "FP32", [3])], outputs)
    server.load("rowless")
    x = np.ones((2, 3), np.float32)
    assert_same(infer(client, "rowless", {"x": x}, outputs=["TWICE__1"]), {"TWICE__1": x * 2})
    with pytest.raises(InferenceServerException, match="failed to split the output tensor 'SUM__0'"):
        infer(client, "rowless", {"x": x})


def test_a_scalar_output_without_batching_has_one_element(repository, server, client):
    write(repository, "scalar", scripted(SumAndDouble()), [("x", "FP32", [3])], [("SUM__0", "FP32", [1])], batch=0)
    server.load("scalar")
    answer = infer(client, "scalar", {"x": np.ones(3, np.float32)})
    assert_same(answer, {"SUM__0": np.array([3], np.float32)})


def test_an_output_of_another_type_than_configured_is_an_error(repository, server, client):
    write(repository, "mistyped", scripted(SumAndDouble()), [("x", "FP32", [3])], [("TWICE__1", "FP64", [3])])
    server.load("mistyped")
    with pytest.raises(InferenceServerException, match="expects datatype TYPE_FP64 for output 'TWICE__1'"):
        infer(client, "mistyped", {"x": np.ones((1, 3), np.float32)})


X, TWICE = ("x", "FP32", [3]), ("TWICE__1", "FP32", [3])
REFUSALS = {
    "output_name": ([X], [("twice", "FP32", [3])], "output 'twice' does not follow <name>__<index> naming convention"),
    "input_count": ([X, ("z", "FP32", [3])], [TWICE], "configuration expects 2 inputs, model provides 1"),
    "input_name": ([("pixels", "FP32", [3])], [TWICE], "input 'pixels' does not follow <name>__<index>"),
    "input_index": ([("pixels__1", "FP32", [3])], [TWICE], "do not name each argument of the model once"),
    "input_type": ([("x", "UINT16", [3])], [TWICE], "unsupported datatype TYPE_UINT16 for input 'x'"),
    "exported_type": (
        [("x", "FP64", [3])],
        [TWICE],
        "expects datatype TYPE_FP64 for input 'x', model provides TYPE_FP32",
    ),
    "exported_dims": ([("x", "FP32", [4])], [TWICE], "model expects 2 dimensions (shape [-1,3])"),
    "exported_output": ([X], [("THRICE__2", "FP32", [3])], "asks for the tensor 2 of 2 that the model returns"),
}


@pytest.fixture(scope="module")
def refusals(repository, server):
    """The reasons by model, loaded side by side because each load imports PyTorch."""
    for name, (inputs, outputs, _) in REFUSALS.items():
        save = exported(SumAndDouble(), torch.zeros(2, 3)) if name.startswith("exported") else scripted(SumAndDouble())
        write(repository, name, save, inputs, outputs)
    return {outcome.model: outcome.reason for outcome in server.load_all(list(REFUSALS))}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_configuration_that_does_not_fit_is_refused(refusals, name):
    assert REFUSALS[name][-1] in refusals[name]


def test_a_damaged_file_is_refused(repository, server):
    write(repository, "damaged", lambda folder: (folder / "model.pt").write_bytes(b"no archive"), [X], [TWICE])
    with pytest.raises(LoadRefusedError) as refusal:
        server.load("damaged")
    assert "failed to load" in refusal.value.cause
