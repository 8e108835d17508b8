# SPDX-License-Identifier: Apache-2.0
"""A pipeline in Python says the same as its file, and one in a person's own file is evaluated behind walls."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.errors import PipelineError
from repo_tool.pipelines import Pipeline, for_each, model, repeat, step, when, wire
from repo_tool.pipelines.building import Steps
from repo_tool.pipelines.catalogue import step_kind, step_names
from repo_tool.pipelines.spec import PipelineFile, read_pipeline
from repo_tool.workflows.pipeline_source import read_pipeline_source

NAMES = st.sampled_from(["image", "pixels", "tensor", "logits", "größe", "yes", "null", "1"])
MAPS = st.dictionaries(NAMES, NAMES, max_size=2)
NUMBERS = st.integers(-9, 9) | st.floats(-9, 9) | st.booleans()
VALUES = st.recursive(NUMBERS | NAMES, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
FLAT = st.builds(
    step, NAMES, name=st.none() | NAMES, inputs=MAPS, outputs=MAPS, merge=st.booleans(), factor=VALUES
) | st.builds(model, NAMES, version=st.none() | st.integers(1, 3), inputs=MAPS, outputs=MAPS)
RUNS = st.lists(FLAT, min_size=1, max_size=3).map(lambda each: Steps(tuple(one.declared[0] for one in each)))
TOLD = st.dictionaries(NAMES, NAMES, min_size=1, max_size=2)
BLOCKS = (
    st.builds(when, NAMES, RUNS, otherwise=st.dictionaries(NAMES, NUMBERS, min_size=1), is_below=st.floats(0, 1))
    | st.builds(for_each, TOLD, RUNS, outputs=TOLD, count=st.none() | NAMES, pad=st.dictionaries(NAMES, NUMBERS))
    | st.builds(repeat, RUNS, carry=TOLD, at_most=st.integers(1, 9), outputs=TOLD, until=st.none() | NAMES)
)
PIPELINES = st.builds(
    lambda steps, told, **rest: (Pipeline("any", **rest) | steps).outputs(**told),
    st.lists(FLAT | BLOCKS, min_size=1, max_size=4).map(
        lambda each: Steps(tuple(declared for one in each for declared in one.declared))
    ),
    TOLD,
    inputs=st.dictionaries(NAMES, st.sampled_from(["BYTES [1]", ("FP32", (3, -1)), "INT64[2,2]"]), min_size=1),
    description=st.text(max_size=9).filter(lambda text: text.isprintable()),
    max_batch_size=st.none() | st.integers(0, 9),
    merge=st.booleans(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("saved")


@settings(deadline=None, max_examples=60)
@given(PIPELINES)
def test_what_is_saved_reads_back_as_the_same(folder, pipeline):
    for name in ("pipeline.yaml", "pipeline.json"):
        pipeline.save(folder / name)
        assert read_pipeline(folder / name).model_dump() == pipeline.to_file().model_dump()
    assert PipelineFile.model_validate(pipeline.to_dict()).model_dump() == pipeline.to_file().model_dump()


def test_a_pipeline_in_python_is_that_of_the_file():
    demo = Path(__file__).parents[3] / "examples" / "demo"
    reader = (
        Pipeline(
            "digits_reader", inputs={"image": "BYTES [1]"}, description="Reads a handwritten digit from a PNG picture."
        )
        | step("decode_image", height=8, width=8, mode="L")
        | step("normalise", mean=np.array([0.305]), std=[np.float64(0.376)], layout="CHW")
        | model("digits_cnn", inputs={"image": "tensor"}, outputs={"output": "logits"})
        | (step("softmax") | step("top_k_labels", k=3, labels=Path("digit_words.txt")))
    ).outputs("label", "probability", "top_labels", "top_probabilities")
    assert reader.to_file(folder=demo).digest == read_pipeline(demo / "digits_reader.yaml").digest


def test_a_longer_pipeline_leaves_the_shorter_as_it_was():
    short = Pipeline("short", inputs={"x": "FP32 [1]"}) | step("softmax")
    assert (short | step("sigmoid")).steps != short.steps
    assert len(short.steps.declared) == 1


def test_a_block_takes_values_and_wires():
    block = when("sure", model("large"), is_below=np.float64(0.5), otherwise={"label": wire("first"), "x": np.int64(3)})
    assert block.declared[0]["when"] == {
        "wire": "sure",
        "is_below": 0.5,
        "otherwise": {"label": {"wire": "first"}, "x": 3},
    }


@pytest.mark.parametrize("name", step_names())
def test_no_parameter_of_a_step_is_called_like_an_argument_of_step(name):
    own = {field.name for field in dataclasses.fields(step_kind(name).code)}
    assert own.isdisjoint({"name", "inputs", "outputs", "merge"})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Pipeline("p", inputs={"x": "FP32 3"}).to_dict(), "'FP32 3' is no type of an input"),
        (lambda: Pipeline("p", inputs={"x": "FP31 [3]"}).to_dict(), "FP31"),
        (lambda: when("x", step("softmax"), is_below=1, is_above=0, otherwise={"y": 1}), "one comparison"),
        (lambda: repeat(step("softmax"), carry={"a": "b"}, at_most=0, outputs=["a"]), "at_most"),
        (lambda: model("m", version=0), "version"),
    ],
)
def test_what_no_file_may_say_is_refused_where_it_is_written(wrong, words):
    with pytest.raises(PipelineError, match=words):
        wrong()


HEAD = "from repo_tool.pipelines import Pipeline, step, model\n"
PLAIN = "p = (Pipeline('plain', inputs={'logits': 'FP32 [3]'}) | step('softmax')).outputs('probabilities')\n"


def source(folder, text, name=""):
    (folder / "mine.py").write_text(HEAD + text)
    return read_pipeline_source(f"{folder / 'mine.py'}{name}")


@pytest.mark.parametrize("name", ["", ":p"])
def test_a_python_file_gives_its_pipeline(tmp_path, name):
    found = source(tmp_path, PLAIN, name)
    assert found.name == "plain"
    assert found.folder == tmp_path


def test_a_python_file_imports_what_lies_beside_it_and_nothing_of_it_runs_here(tmp_path):
    (tmp_path / "beside.py").write_text("import os\nMARK = str(os.getpid())\n")
    code = "import beside\n" + PLAIN.replace("'plain'", "'p' + beside.MARK")
    assert source(tmp_path, code).name not in {f"p{os.getpid()}", "p"}


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (PLAIN, ":q", "'mine.py' holds no pipeline 'q'"),
        (PLAIN + PLAIN.replace("p =", "q ="), "", "holds several pipelines"),
        ("x = 1\n", "", "holds no pipeline"),
        ("x = 1 / 0\n", "", "'mine.py', line 2 fails: ZeroDivisionError"),
        ("x = (\n", "", "'mine.py', line 2 fails: SyntaxError"),
        (PLAIN + "\nmodel('m', version=0)\n", "", "'mine.py', line 4: model 'm' is not of the form"),
        ("import os\nos._exit(7)\n", "", "died"),
        (
            "import os\nopen(os.environ['TMPDIR'] + '/answer.json', 'w').truncate(1 << 30)\nos._exit(0)\n",
            "",
            "died",
        ),
    ],
)
def test_a_python_file_that_gives_no_pipeline_is_told_with_its_line(tmp_path, text, name, words):
    with pytest.raises(PipelineError, match=words):
        source(tmp_path, text, name)


def test_a_python_file_reaches_no_network_and_writes_nothing_elsewhere(tmp_path):
    code = "import socket\nsocket.create_connection(('127.0.0.1', 9))\n"
    with pytest.raises(PipelineError, match="line 3 fails: PermissionError"):
        source(tmp_path, code)


def test_a_file_that_it_names_must_be_there(tmp_path):
    code = "from pathlib import Path\n" + PLAIN.replace("'softmax'", "'top_k_labels', labels=Path('words.txt')")
    with pytest.raises(PipelineError, match=r"there is no file .*words\.txt"):
        source(tmp_path, code)


def test_nothing_of_that_name_is_told(tmp_path):
    with pytest.raises(PipelineError, match="there is no pipeline 'reader'"):
        read_pipeline_source("reader")
