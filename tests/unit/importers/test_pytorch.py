# SPDX-License-Identifier: Apache-2.0
"""PyTorch sources: what is refused and how; and details of what is brought in."""

import importlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.pytorch import PytorchImporter
from repo_tool.samples import RawSample
from repo_tool.verification import disagreement
from support.artifacts import run_artifact

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is what the pytorch backend serves

MODULES = """
from dataclasses import dataclass
from typing import Dict

import torch

class Linear(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

class Frozen(torch.nn.Module):
    def forward(self, values):
        return values.reshape(2, -1) + 1

class Branching(torch.nn.Module):
    def forward(self, values):
        return values if values.sum() > 0 else -values

class Pair(torch.nn.Module):
    def forward(self, values, scale=None):
        values = values if scale is None else values * scale
        return values + 1, values.sum(1)

class Nested(torch.nn.Module):
    def forward(self, ids):
        return {"first": ids.float(), "rest": (ids + 1, ids > 1)}

class Repeating(torch.nn.Module):
    def forward(self, values, unused):
        more = values + 1
        return more, more, values

class Unrolled(torch.nn.Module):
    def forward(self, values):
        return torch.stack([row * 2 for row in values])

class Dynamic(torch.nn.Module):
    def forward(self, values):
        return eval("values if float(values.sum()) > 100 else torch.stack([row for row in values])")

class Scripted(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> Dict[str, torch.Tensor]:
        return {"double": values * 2, "half": values / 2}

class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 5, batch_first=True)

    def forward(self, values):
        return self.lstm(values)[0]

@dataclass
class Answer:
    score: torch.Tensor
    parts: tuple

class Answering(torch.nn.Module):
    def forward(self, values):
        return Answer(values.sum(1), (values + 1, values > 0))

class SameName(torch.nn.Module):
    def forward(self, values):
        return {"values": values + 1}

class Keywords(torch.nn.Module):
    def forward(self, *, ids, mask):
        return ids * mask

class Random(torch.nn.Module):
    def forward(self, values):
        return values + torch.rand_like(values)

class AcrossRows(torch.nn.Module):
    def forward(self, values):
        return values.softmax(0)

class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.second.bias = self.first.bias

    def forward(self, values):
        return self.second(self.first(values))

class LongOrShort(torch.nn.Module):
    def forward(self, values):
        return values * 2 if values.shape[1] > 5 else values + 1

class ManyOrFew(torch.nn.Module):
    def forward(self, values):
        return values * 2 if values.shape[0] > 4 else values + 1

class ByPlace(torch.nn.Module):
    def forward(self, values, /):
        return values + 1

class OfAnyName(torch.nn.Module):
    def forward(self, **given):
        return given["values"] + 1

class Unscriptable(torch.nn.Module):
    def forward(self, values, **more):
        return values * 2 if float(values.sum()) > 0 else -values

class Nothing(torch.nn.Module):
    def forward(self, values):
        return {"values": None}

class Alike(torch.nn.Module):
    def forward(self, values):
        return {"a_b": values + 1, "a": {"b": values * 2}}

class Brain(torch.nn.Module):
    def forward(self, values):
        return {"logits": values.bfloat16()}

class Unsigned(torch.nn.Module):
    def forward(self, values):
        return values.to(torch.int32) * 2

class NormalisedByTheBatch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, values):
        return self.norm(values)

def of_bfloat16():
    return torch.nn.Sequential(torch.nn.Linear(4, 3)).bfloat16()

def of_float64():
    return torch.nn.Sequential(torch.nn.Linear(4, 3)).double()

class HalfInside(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Embedding(20, 32)]
        for _ in range(6):
            layers += [torch.nn.Linear(32, 32), torch.nn.LayerNorm(32), torch.nn.GELU()]
        self.layers = torch.nn.Sequential(*layers).half()
    def forward(self, ids):
        return self.layers(ids).float() * 10

def of_float16():
    return torch.nn.Sequential(torch.nn.Linear(4, 3)).half()

class Number(torch.nn.Module):
    def forward(self, values):
        return 7

def failing():
    raise ValueError("no weights here")

def of_size(size):
    return torch.nn.Linear(size, 1)

text = "a text"
number = lambda: 7
"""
ROWS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """The word before the colon; a module of the working folder, fresh for each test."""
    name = f"modules_of_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def bring_in(source, *, array=None, weights=None, weights_inside=True, backend=None, **tensors):
    sample = RawSample(origin="rows", array=array, tensors=tensors) if array is not None or tensors else None
    folder = Path("in")
    folder.mkdir(exist_ok=True)
    weights = Path(weights) if weights else None
    given = {"weights": weights, "weights_inside": weights_inside and weights is None, "backend": backend}
    request = ImportRequest(source=str(source), max_opset=21, max_ir_version=10, **given)
    return PytorchImporter().bring_in(request, sample, folder)


def refusal(source, kind=SourceError, **options):
    with pytest.raises(kind) as refused:
        bring_in(source, **options)
    return refused.value


def answers(imported, rows):
    return run_artifact(imported, {name: array[:rows] for name, array in imported.inputs.items()})


# --- files that hold no module ---------------------------------------------------------------------------------------


def test_a_state_dict_is_refused_with_the_way_to_give_the_code(modules):
    torch.save(torch.nn.Linear(4, 3).state_dict(), "weights.pt")
    error = refusal("weights.pt")
    assert error.fact == "'weights.pt' is a state dict, not a module"
    assert "package.module:factory --weights weights.pt" in error.next_step


def test_safetensors_are_refused_with_the_way_to_give_the_code(modules):
    save_file(torch.nn.Linear(4, 3).state_dict(), "weights.safetensors")
    assert refusal("weights.safetensors").fact == "'weights.safetensors' is a state dict, not a module"


def test_a_pickled_module_is_refused_by_its_class_and_never_unpickled(modules):
    torch.save(torch.nn.Linear(4, 3), "whole.pt")
    error = refusal("whole.pt")
    assert error.fact == "'whole.pt' is a pickled module of class torch.nn.modules.linear.Linear"
    assert "torch.export.save" in error.next_step


@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_file_cut_short_is_refused(modules, name):
    save = torch.jit.save if name == "model.pt" else torch.export.save
    module = torch.nn.Linear(4, 3)
    rows = torch.zeros(2, 4)
    save(torch.jit.trace(module, rows) if name == "model.pt" else torch.export.export(module, (rows,)), name)
    Path(name).write_bytes(Path(name).read_bytes()[:2000])
    assert "neither a TorchScript file nor an exported program" in refusal(name).fact


def test_a_damaged_script_is_refused(modules):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 3), torch.zeros(2, 4)), "whole.pt")
    with zipfile.ZipFile("whole.pt") as whole, zipfile.ZipFile("model.pt", "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, b"def def" if name.endswith(".py") else whole.read(name))
    assert "does not load as TorchScript" in refusal("model.pt", array=ROWS).fact


def test_weights_beside_a_file_that_has_its_own_are_refused(modules):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 3), torch.zeros(2, 4)), "model.pt")
    assert "holds weights of its own" in refusal("model.pt", array=ROWS, weights="model.pt").fact


def test_a_script_for_another_backend_is_refused(modules):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 3), torch.zeros(2, 4)), "model.pt")
    assert (
        refusal("model.pt", backend="onnxruntime").fact == "TorchScript cannot be served by the backend 'onnxruntime'"
    )


# --- factories -------------------------------------------------------------------------------------------------------


def test_a_python_module_that_is_not_there_is_refused(modules):
    error = refusal("nowhere_at_all:build", array=ROWS)
    assert error.fact == "the Python module 'nowhere_at_all' cannot be imported"


def test_a_name_that_the_module_lacks_is_refused_with_those_it_has(modules):
    error = refusal(f"{modules}:Linaer", array=ROWS)
    assert f"'{modules}' has nothing called 'Linaer'" in error.fact
    assert "Branching" in error.cause


@pytest.mark.parametrize(("factory", "cause"), [("failing", "no weights here"), ("of_size", "missing 1 required")])
def test_a_factory_that_fails_is_refused_in_its_own_words(modules, factory, cause):
    error = refusal(f"{modules}:{factory}", array=ROWS)
    assert "fails when called without arguments" in error.fact
    assert cause in error.cause


def test_a_factory_of_something_else_is_refused(modules):
    assert "builds a int, not a torch.nn.Module" in refusal(f"{modules}:number", array=ROWS).fact


def test_weights_of_another_module_are_refused_by_their_keys(modules):
    save_file(torch.nn.Conv2d(1, 1, 1).state_dict(), "weights.safetensors")
    error = refusal(f"{modules}:Linear", array=ROWS, weights="weights.safetensors")
    assert "are not those of the module" in error.fact
    assert "size mismatch for weight" in error.cause


def test_weights_that_are_not_there_are_refused(modules):
    assert "there is no file of weights" in refusal(f"{modules}:Linear", array=ROWS, weights="gone.pth").fact


def test_weights_that_would_run_code_are_not_loaded(modules):
    torch.save({"weight": Path("anything")}, "weights.pth")
    error = refusal(f"{modules}:Linear", array=ROWS, weights="weights.pth")
    assert "does not load as a state dict" in error.fact
    assert "pathlib" in error.cause


def test_a_factory_without_weights_publishes_no_random_numbers(modules):
    error = refusal(f"{modules}:Tied", array=ROWS, weights_inside=False)
    assert "no --weights are given" in error.fact
    assert error.cause.startswith("'first.weight' and 3 more tensors would be served as the factory leaves them")
    assert error.next_step.endswith("or --weights-inside if the factory loads them")


def test_a_factory_that_loads_its_weights_is_served_with_them(modules):
    assert "those that the factory puts in" in bring_in(f"{modules}:Linear", array=ROWS).notes[0]


def test_a_module_without_weights_needs_none(modules):
    assert bring_in(f"{modules}:AcrossRows", array=ROWS, weights_inside=False).signature.inputs


def test_weights_come_from_one_place(modules):
    torch.save(torch.nn.Linear(4, 3).state_dict(), "weights.pt")
    request = ImportRequest(
        source=f"{modules}:Linear", weights=Path("weights.pt"), weights_inside=True, max_opset=21, max_ir_version=10
    )
    with pytest.raises(SourceError, match="contradict each other"):
        PytorchImporter().bring_in(request, None, Path("in"))


# --- samples ---------------------------------------------------------------------------------------------------------


def test_a_module_without_a_sample_asks_for_one_by_the_names_of_its_inputs(modules):
    error = refusal(f"{modules}:Pair", SampleError)
    assert "a PyTorch module only knows the names of its inputs: values" in error.cause
    assert "--sample" in error.next_step


def test_a_script_without_a_sample_asks_for_one(modules):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 3), torch.zeros(2, 4)), "model.pt")
    assert "does not say what shapes its inputs have" in refusal("model.pt", SampleError).fact


def test_a_sample_that_lacks_an_argument_is_refused(modules):
    assert "lacks values" in refusal(f"{modules}:Pair", SampleError, scale=ROWS).fact


def test_a_sample_of_text_is_refused(modules):
    words = np.array(["a", "b"], dtype=object)
    assert "PyTorch has no tensors of text" in refusal(f"{modules}:Pair", SampleError, array=words).cause


def test_rows_that_the_module_cannot_take_are_refused(modules):
    error = refusal(f"{modules}:Linear", array=ROWS[:, :3])
    assert error.fact == "forward fails on input [5, 3]"
    assert "mat1 and mat2 shapes cannot be multiplied" in error.cause


def test_an_argument_with_a_default_is_an_input_when_the_sample_has_it(modules):
    with_scale = bring_in(f"{modules}:Pair", values=ROWS, scale=ROWS)
    assert [spec.name for spec in with_scale.signature.inputs] == ["values", "scale"]
    assert [spec.name for spec in with_scale.signature.outputs] == ["output_0", "output_1"]


def test_64_bit_floats_of_a_sample_become_what_the_module_computes_in(modules):
    imported = bring_in(f"{modules}:Linear", array=ROWS[:1].astype(np.float64))
    assert imported.signature.inputs[0].datatype.wire_name == "FP32"
    assert imported.signature.can_batch


# --- what comes out --------------------------------------------------------------------------------------------------


def test_nested_answers_get_stable_names_and_their_own_types(modules):
    ids = np.array([[0, 1], [2, 3], [4, 5]])
    imported = bring_in(f"{modules}:Nested", ids=ids)
    types = {spec.name: spec.datatype.wire_name for spec in imported.signature.outputs}
    assert types == {"first": "FP32", "rest_0": "INT64", "rest_1": "BOOL"}
    for name, array in answers(imported, 1).items():
        np.testing.assert_array_equal(array, imported.reference[name][:1])


def test_a_batch_dimension_that_forward_freezes_is_told(modules):
    imported = bring_in(f"{modules}:Frozen", array=ROWS[:2])
    assert imported.signature.inputs[0].shape == (2, -1)
    assert not imported.signature.can_batch
    assert any("the first dimension is fixed in 'values' [2, -1]" in note for note in imported.notes)


def test_an_exported_program_keeps_its_own_dynamic_dimensions(modules):
    free = {"values": {0: torch.export.Dim("rows"), 1: torch.export.Dim("length", min=2)}}
    module = torch.nn.Sequential(torch.nn.ReLU())
    program = torch.export.export(module, (torch.zeros(2, 7),), dynamic_shapes={"input": free["values"]})
    torch.export.save(program, "model.pt2")
    imported = bring_in("model.pt2")
    assert imported.signature.inputs[0].shape == (-1, -1)
    assert imported.inputs["input"].shape == (16, 7)


def test_an_exported_program_of_bounded_batches_needs_to_answer_no_larger_ones(modules):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),), dynamic_shapes={"input": {0: batch}})
    torch.export.save(program, "model.pt2")
    imported = bring_in("model.pt2")
    assert (imported.backend, imported.signature.can_batch) == ("onnxruntime", True)


def test_an_exported_program_without_a_free_dimension_says_so(modules):
    torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),)), "model.pt2")
    imported = bring_in("model.pt2")
    assert imported.signature.inputs[0].shape == (2, 4)
    assert not imported.signature.can_batch


def test_a_module_that_branches_on_values_is_served_as_a_script_with_both_branches(modules):
    imported = bring_in(f"{modules}:Branching", array=np.abs(ROWS))
    assert imported.backend == "pytorch"
    assert imported.fallback_reason.startswith("torch.export cannot trace the module: GuardOnDataDependentSymNode")
    found = run_artifact(imported, {"values": -np.abs(ROWS)})
    np.testing.assert_array_equal(found["OUTPUT__0"], np.abs(ROWS))


def test_a_module_that_branches_on_values_is_refused_where_onnx_is_asked_for(modules):
    error = refusal(f"{modules}:Branching", array=ROWS, backend="onnxruntime")
    assert "torch.export cannot trace the module" in error.fact
    assert "--backend pytorch" in error.next_step


def test_a_module_that_loops_over_rows_is_scripted(modules):
    imported = bring_in(f"{modules}:Unrolled", array=ROWS[:2], backend="pytorch")
    np.testing.assert_array_equal(run_artifact(imported, {"values": ROWS})["OUTPUT__0"], ROWS * 2)


def test_a_module_that_can_neither_be_traced_nor_scripted_is_refused_with_both_reasons(modules):
    error = refusal(f"{modules}:Dynamic", array=ROWS)
    assert "torch.export cannot trace the module" in error.fact
    assert "as TorchScript: " in error.cause


def test_a_dict_is_a_plain_tuple_to_the_pytorch_backend(modules):
    imported = bring_in(f"{modules}:Nested", ids=np.array([[0, 1], [2, 3], [4, 5]]), backend="pytorch")
    assert [spec.name for spec in imported.signature.outputs] == ["first__0", "rest_0__1", "rest_1__2"]
    found = answers(imported, 2)
    for name, array in imported.reference.items():
        np.testing.assert_array_equal(found[name], array[:2])


def test_a_script_that_answers_a_dict_is_wrapped(modules, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    scripted = torch.jit.script(importlib.import_module(modules).Scripted())
    scripted.save("model.pt")
    imported = bring_in("model.pt", array=ROWS)
    assert [spec.name for spec in imported.signature.outputs] == ["double__0", "half__1"]
    np.testing.assert_array_equal(answers(imported, 3)["half__1"], ROWS[:3] / 2)
    assert any("wrapped" in note for note in imported.notes)


@pytest.mark.parametrize("backend", ["onnxruntime", "pytorch"])
def test_the_length_of_a_recurrent_module_stays_free(modules, backend):
    sequences = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    imported = bring_in(f"{modules}:Recurrent", array=sequences, backend=backend)
    assert imported.signature.inputs[0].shape == (-1, -1, 4)
    longer = np.concatenate([sequences, sequences], axis=1)
    found = next(iter(run_artifact(imported, {"values": longer}).values()))
    whole = next(iter(imported.reference.values()))
    np.testing.assert_allclose(found[:, :6], whole, atol=1e-5)  # of a unidirectional one, the start does not change


def test_a_dataclass_is_flattened_under_its_fields(modules):
    imported = bring_in(f"{modules}:Answering", array=ROWS)
    assert [spec.name for spec in imported.signature.outputs] == ["score", "parts_0", "parts_1"]


def test_an_output_called_as_an_input_gets_a_name_of_its_own(modules):
    imported = bring_in(f"{modules}:SameName", array=ROWS)
    assert [spec.name for spec in imported.signature.outputs] == ["values_output"]
    np.testing.assert_array_equal(answers(imported, 2)["values_output"], ROWS[:2] + 1)


def test_arguments_by_keyword_only_are_inputs(modules):
    imported = bring_in(f"{modules}:Keywords", ids=np.array([[0, 1], [2, 3]]), mask=np.array([[True, False]] * 2))
    assert {spec.name: spec.datatype.wire_name for spec in imported.signature.inputs} == {
        "ids": "INT64",
        "mask": "BOOL",
    }


def test_a_module_that_draws_random_numbers_is_refused(modules):
    fact = refusal(f"{modules}:Random", array=ROWS).fact
    assert fact.startswith("the model answers the same rows differently each time: output 'output'")


def test_rows_that_are_not_answered_one_by_one_are_not_batched(modules):
    imported = bring_in(f"{modules}:AcrossRows", array=ROWS)
    assert not imported.signature.can_batch
    assert any("depends on the rows beside it" in note for note in imported.notes)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_float_types_are_served_in_their_own(modules, dtype):
    imported = bring_in(f"{modules}:of_{dtype}", array=ROWS)
    assert imported.backend == "onnxruntime"
    assert imported.reference["output"].dtype == dtype


def test_a_module_that_computes_in_half_precision_is_held_to_what_that_resolves(modules):
    ids = np.random.default_rng(0).integers(0, 20, (4, 6))
    imported = bring_in(f"{modules}:HalfInside", array=ids)
    assert (imported.backend, imported.computes_in) == ("onnxruntime", DataType.FP16), imported.fallback_reason
    assert imported.reference["output"].dtype == np.float32
    apart = disagreement(run_artifact(imported, imported.inputs), imported.reference)
    assert "differs by up to" in apart  # more than what 32 bits are held to


def test_tied_weights_and_those_of_data_parallel_are_loaded(modules, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(modules).Tied()
    save_file(
        {f"module.{name}": tensor for name, tensor in module.state_dict().items() if "second" not in name},
        "w.safetensors",
    )
    imported = bring_in(f"{modules}:Tied", array=ROWS, weights="w.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(imported.reference["output"], module(torch.from_numpy(ROWS)).numpy(), atol=1e-6)


def test_tensors_returned_twice_or_unchanged_and_inputs_not_used_keep_their_names(modules):
    imported = bring_in(f"{modules}:Repeating", values=ROWS, unused=ROWS)
    assert [spec.name for spec in imported.signature.inputs] == ["values", "unused"]
    found = answers(imported, 5)
    for name in ("output_0", "output_1"):
        np.testing.assert_array_equal(found[name], ROWS + 1)
    np.testing.assert_array_equal(found["output_2"], ROWS)


def test_an_answer_that_is_no_tensor_is_refused(modules):
    error = refusal(f"{modules}:Number", array=ROWS)
    assert "int" in str(error)


# --- branches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows"), [("LongOrShort", (3, 8)), ("LongOrShort", (3, 4)), ("ManyOrFew", (3, 8))])
@pytest.mark.parametrize("backend", [None, "pytorch"])
def test_a_module_that_asks_for_a_size_answers_as_itself_in_every_size(
    modules, monkeypatch, tmp_path, name, rows, backend
):
    monkeypatch.syspath_prepend(tmp_path)
    module = getattr(importlib.import_module(modules), name)()
    imported = bring_in(f"{modules}:{name}", array=np.full(rows, 3, np.float32), backend=backend)
    assert imported.signature.inputs[0].shape == (-1, -1)
    for count, length in ((1, 2), (3, 5), (3, 6), (5, 16), (9, 3)):
        values = np.full((count, length), 5, np.float32)
        found = next(iter(run_artifact(imported, {"values": values}).values()))
        np.testing.assert_array_equal(found, module(torch.from_numpy(values)).numpy())


def test_a_trace_that_lost_a_branch_is_refused(modules):
    error = refusal(f"{modules}:Unscriptable", array=np.abs(ROWS), backend="pytorch")
    assert error.fact == "TorchScript made by tracing answers negated values otherwise than the module itself"


def test_rows_normalised_by_one_another_are_not_batched(modules):
    imported = bring_in(f"{modules}:NormalisedByTheBatch", array=ROWS)
    assert not imported.signature.can_batch
    assert any(note.startswith("batching is off") for note in imported.notes)


# --- ways of calling, and types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ByPlace", "OfAnyName"])
def test_arguments_by_place_or_of_any_name_are_inputs(modules, name):
    imported = bring_in(f"{modules}:{name}", values=ROWS)
    np.testing.assert_array_equal(answers(imported, 2)["output"], ROWS[:2] + 1)


def test_a_module_that_answers_nothing_is_refused(modules):
    assert refusal(f"{modules}:Nothing", array=ROWS).fact == "forward returns no tensor"


def test_answers_that_flatten_to_one_name_are_numbered(modules):
    imported = bring_in(f"{modules}:Alike", array=ROWS)
    assert [spec.name for spec in imported.signature.outputs] == ["a_b", "a_b_2"]
    np.testing.assert_array_equal(answers(imported, 2)["a_b_2"], ROWS[:2] * 2)


def test_an_answer_in_bfloat16_is_refused_by_its_name(modules):
    assert refusal(f"{modules}:Brain", array=ROWS).fact == "forward returns 'logits' as bfloat16"


def test_a_module_of_bfloat16_is_served_in_32_bits_and_says_so(modules):
    imported = bring_in(f"{modules}:of_bfloat16", array=ROWS)
    assert imported.signature.inputs[0].datatype.wire_name == "FP32"
    assert any("bfloat16 are served as float32" in note for note in imported.notes)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_unsigned_integers_keep_their_type(modules, dtype):
    imported = bring_in(f"{modules}:Unsigned", array=np.array([[1, 2], [3, 60000]], dtype))
    assert (imported.backend, imported.signature.inputs[0].datatype.numpy) == ("onnxruntime", dtype)
