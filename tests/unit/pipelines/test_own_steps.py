# SPDX-License-Identifier: Apache-2.0
"""``use: my_steps:Class``: a step of a person's own keeps the contract, and its code never runs in our process."""

import dataclasses
import json
import os
import shutil
import tarfile

import numpy as np
import pytest

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.foreign import foreign_kind
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import ModelRepository

STEPS = '''
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpen:
    """Make a line sharper."""

    heavy: ClassVar[bool] = True

    words: Path
    amount: float = 1.5
    mode: Literal["soft", "hard"] = "soft"
    offsets: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.amount < 0:
            raise ValueError("amount is negative")

    def outputs(self, inputs):
        datatype, dims = inputs["line"]
        if datatype != "UINT8":
            raise ValueError(f"'line' must be UINT8; it is {datatype}")
        return {"sharp": ("FP32", dims), "word": ("BYTES", (1,))}

    def run(self, line):
        if any(len(row) == 0 for row in line):
            raise ValueError("row 0: it is empty")
        word = self.words.read_bytes()
        sharp = [(row * self.amount).astype(np.float32) for row in line]
        return {"sharp": sharp, "word": np.array([[word]] * len(line), dtype=object)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    names: list[str]

    def input_names(self):
        return tuple(self.names)

    def outputs(self, inputs):
        return {"all": ("FP32" if len(inputs) > 1 else "FLOAT", (len(inputs),))}

    def run(self, **tensors):
        return {"all": np.concatenate([tensors[name] for name in self.names], axis=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    def outputs(self, inputs):
        os._exit(3)

    def run(self, line):
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    file: Path = Path("/etc/passwd")

    def outputs(self, inputs):
        return {}

    def run(self, line):
        return {}


class NoStep:
    pass


if "forged" in __file__:
    from pathlib import Path
    (Path(os.environ["TMPDIR"]) / "answer.json").write_text('{"answer": {"fields": 1}}')
    os._exit(0)
'''
LINE = {"line": Wire(DataType.UINT8, (-1,))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_steps.py").write_text(STEPS)
    (folder / "words.bin").write_bytes(b"w\0")
    return folder


@pytest.fixture(scope="module")
def sharpen(folder):
    return foreign_kind("my_steps:Sharpen", folder).with_parameters({"words": folder / "words.bin", "amount": 2})


def test_it_tells_of_itself_what_a_shipped_step_tells(sharpen, folder):
    assert (sharpen.name, sharpen.inputs, sharpen.kind.heavy, sharpen.kind.packages) == (
        *("my_steps:Sharpen", ("line",)),
        *(True, ()),
    )
    assert sharpen.parameters == {"words": folder / "words.bin", "amount": 2.0, "mode": "soft", "offsets": [1, 2]}
    assert sharpen.kind.parameters["properties"]["words"]["format"] == "path"
    assert sharpen.output_wires(LINE) == {
        "sharp": Wire(DataType.FP32, (-1,)),
        "word": Wire(DataType.BYTES, (1,)),
    }


def test_it_runs_on_rows_of_any_size(sharpen):
    rows = [np.arange(size, dtype=np.uint8) for size in (1, 3)]
    answer = sharpen.run({"line": rows})
    assert [row.tolist() for row in answer["sharp"]] == [[0], [0, 2, 4]]
    assert answer["sharp"][0].dtype == np.float32
    assert answer["word"].tolist() == [[b"w\0"], [b"w\0"]]


def test_its_parameters_may_name_its_inputs(folder):
    many = foreign_kind("my_steps:Many", folder).with_parameters({"names": ["a", "b"]})
    assert many.inputs == ("a", "b")
    ones = np.ones((2, 1), np.float32)
    assert many.run({"a": ones, "b": 2 * ones})["all"].tolist() == [[1, 2], [1, 2]]


def test_a_datatype_that_is_none_is_refused(folder):
    many = foreign_kind("my_steps:Many", folder).with_parameters({"names": ["a"]})
    with pytest.raises(PipelineError, match="it gives 'all' as FLOAT"):
        many.output_wires({"a": Wire(DataType.FP32, (1,))})


def test_a_row_that_it_refuses_is_a_value_error(sharpen):
    with pytest.raises(ValueError, match="row 0: it is empty"):
        sharpen.run({"line": [np.zeros(0, np.uint8)]})


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"amount": -1}, "together: amount is negative"),
        ({"mode": "loud"}, "mode: input should be 'soft' or 'hard'"),
        ({"amonut": 1}, "did you mean 'amount'"),
        ({"words": None}, "words: input is not a valid path"),
    ],
)
def test_parameters_are_checked_as_its_fields_say(folder, parameters, words):
    given = {"words": folder / "words.bin", **parameters}
    with pytest.raises(PipelineError, match="the parameters of step 'my_steps:Sharpen' do not fit") as raised:
        foreign_kind("my_steps:Sharpen", folder).with_parameters(given)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("other_steps:Sharpen", "there is no file"),
        ("my_steps:Sharper", "it has Sharpen, Many, Leaves, Takes, NoStep"),
        ("my_steps:NoStep", "next:  write class NoStep as `docs/pipelines.md` shows one"),
        ("softmax:Softmax", "is called like the shipped step 'softmax'"),
        ("beside:Step", "line 1, imports 'my_steps'"),
        ("broken:Step", "is not Python that can be read"),
        ("raises:Step", "ZeroDivisionError"),
        ("forged:Sharpen", "leaves no answer that reads"),
    ],
)
def test_what_is_no_step_of_ones_own_is_refused(folder, use, words):
    for name, text in {"softmax": "", "beside": "import my_steps\nclass Step: ...", "broken": "class Step("}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "forged.py").write_text(STEPS)
    (folder / "raises.py").write_text("class Step: ...\n1 / 0")
    with pytest.raises(PipelineError) as raised:
        foreign_kind(use, folder)
    assert words in str(raised.value)


DESCRIBED = {"fields": {}, "schema": {}, "inputs": ["line"], "packages": [], "heavy": False, "about": ""}
FORGERIES = {
    "a pipe": "os.mkfifo(ANSWER)",
    "a link": "os.symlink('/dev/zero', ANSWER)",
    "nested without end": "open(ANSWER, 'w').write('[' * 200_000)",
    "a large one": "open(ANSWER, 'wb').truncate(1 << 30)",
    "an odd name of an input": DESCRIBED | {"inputs": ["a b"]},
    "a keyword": DESCRIBED | {"inputs": ["class"]},
    "an input twice": DESCRIBED | {"inputs": ["x", "x"]},
    "an odd name of a parameter": DESCRIBED | {"fields": {"a b": True}},
    "a parameter called like a method": DESCRIBED | {"fields": {"run": False}},
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_an_answer_that_its_code_wrote_itself_is_told(tmp_path, forged):
    code = forged if isinstance(forged, str) else f"open(ANSWER, 'w').write({json.dumps({'answer': forged})!r})"
    head = "import os\nANSWER = os.path.join(os.environ['TMPDIR'], 'answer.json')\n"
    (tmp_path / "forged.py").write_text(f"{head}{code}\nos._exit(0)\nclass Step: ...\n")
    with pytest.raises(PipelineError, match=r"leaves no answer that reads|it ended with status 0|no answer that reads"):
        foreign_kind("forged:Step", tmp_path)


@pytest.mark.parametrize("name", ["copy", "string", "random"])
def test_its_file_may_be_called_like_a_module_of_python(tmp_path, name):
    (tmp_path / f"{name}.py").write_text(STEPS)
    assert foreign_kind(f"{name}:Sharpen", tmp_path).inputs == ("line",)


def test_a_step_that_ends_its_process_ends_that_one_only(folder):
    leaves = foreign_kind("my_steps:Leaves", folder).with_parameters({})
    with pytest.raises(PipelineError, match="it ended with status 3"):
        leaves.output_wires(LINE)


def test_its_code_sees_neither_this_process_nor_other_folders(folder):
    outside = folder / "outside"
    (folder / "spies.py").write_text(
        f"import os\nos.environ['SPIED'] = '1'\nopen({str(outside)!r}, 'w').write('x')\nclass Spy: ..."
    )
    with pytest.raises(PipelineError, match="PermissionError"):
        foreign_kind("spies:Spy", folder)
    assert not outside.exists()
    assert "SPIED" not in os.environ


def test_it_cannot_have_files_copied_that_its_pipeline_does_not_name(folder):
    with pytest.raises(PipelineError, match="makes '/etc/passwd' of its parameters"):
        foreign_kind("my_steps:Takes", folder).with_parameters({})


@pytest.mark.parametrize("brings_environment", [False, True])
def test_a_package_that_the_image_does_not_have_needs_an_environment(tmp_path, brings_environment):
    (tmp_path / "learns.py").write_text(STEPS.replace("import numpy", "import yaml\nimport numpy", 1))
    shutil.copy(__file__, tmp_path / "words.bin")
    with tarfile.open(tmp_path / "environment.tar.gz", "w:gz"):
        pass
    (tmp_path / "pipeline.yaml").write_text(
        "name: learned\ninputs: {line: {datatype: UINT8, dims: [-1]}}\noutputs: [sharp]\n"
        "steps: [{use: 'learns:Sharpen', with: {words: {file: words.bin}}}]\n"
        + ("execution_env: environment.tar.gz\n" if brings_environment else "")
    )
    pipeline = read_pipeline(tmp_path / "pipeline.yaml")
    if not brings_environment:
        with pytest.raises(PipelineError, match="imports 'yaml', which the image does not have"):
            compile_pipeline(pipeline, ModelRepository(tmp_path / "models"))
        return
    own = compile_pipeline(pipeline, ModelRepository(tmp_path / "models")).own
    assert own.config.parameters["EXECUTION_ENV_PATH"] == "$$TRITON_MODEL_DIRECTORY/environment.tar.gz"
    assert set(own.directory_files) == {"environment.tar.gz"}
    assert {"model.py", "steps/learns.py", "assets/words.bin"} <= set(own.files)
    assert own.config.instance_groups[0].count == os.cpu_count()


def test_it_is_read_again_when_its_file_changes(tmp_path):
    for amount in (1.5, 2.5):
        (tmp_path / "my_steps.py").write_text(STEPS.replace("amount: float = 1.5", f"amount: float = {amount}"))
        kind = foreign_kind("my_steps:Sharpen", tmp_path)
        assert kind.parameters["properties"]["amount"]["default"] == amount
        assert [field.name for field in dataclasses.fields(kind.code)] == ["words", "amount", "mode", "offsets"]
