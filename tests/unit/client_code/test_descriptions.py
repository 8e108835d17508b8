# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from repo_tool.client_code.from_repository import describe_repository
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import Sample, write_published_sample

CONFIG = """
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [
  { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" },
  { name: "word" data_type: TYPE_STRING dims: [ 1 ] }
]
"""


@pytest.fixture
def describe(tmp_path):
    def write_and_describe(*, config=CONFIG, **files):
        version = tmp_path / "models" / "m" / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(config)
        for name, text in files.items():
            path = version / "pipeline.json" if name == "pipeline" else version.parent / f"{name}.txt"
            path.write_text(text)
        (found,) = describe_repository(ModelRepository(tmp_path / "models"))
        return found

    return write_and_describe


def outputs(found):
    return {tensor.name: tensor for tensor in found.outputs}


@pytest.mark.parametrize("text", ["a\nb\nc\n", "a\nb\nc", "a\r\nb\r\nc\r\n"])
def test_classes_are_the_lines_of_the_label_file(describe, text):
    assert outputs(describe(labels=text))["scores"].classes == ("a", "b", "c")


@pytest.mark.parametrize("text", ["a\nb\n", "a\nb\nc\nd\n", ""])
def test_labels_that_do_not_match_the_scores_are_none(describe, text):
    assert outputs(describe(labels=text))["scores"].classes == ()


@pytest.mark.parametrize("text", ["yes\n", "yes", ""])
def test_one_score_has_no_most_probable_class(describe, text):
    assert outputs(describe(config=CONFIG.replace("dims: [ 3 ]", "dims: [ 1 ]"), labels=text))["scores"].classes == ()


def test_a_label_file_outside_of_the_model_is_not_read(describe, tmp_path):
    (tmp_path / "secret.txt").write_text("a\nb\nc\n")
    found = describe(config=CONFIG.replace("labels.txt", "../../secret.txt"))
    assert outputs(found)["scores"].classes == ()


def test_words_are_those_of_the_step_that_writes_them(describe):
    steps = [{"use": "label_lookup", "with": {"labels": ["low", "high"]}, "outputs": {"label": "wire"}}]
    pipeline = json.dumps({"description": "Says it.", "steps": steps, "outputs": {"word": "wire"}})
    found = describe(pipeline=pipeline)
    assert outputs(found)["word"].words == ("low", "high")
    assert outputs(found)["word"].is_text
    assert found.about == "Says it."


@pytest.mark.parametrize(
    "pipeline",
    [
        "",
        "[]",
        "{",
        '{"steps": 3}',
        '{"steps": [], "outputs": 3}',
        '{"steps": [1, {"use": 2}, {"use": "label_lookup", "with": 3}]}',
        '{"steps": [{"use": ["x"]}]}',
    ],
)
def test_a_pipeline_that_does_not_read_says_nothing(describe, pipeline):
    assert outputs(describe(pipeline=pipeline))["word"].words == ()


@pytest.mark.parametrize(
    ("value", "is_text"), [(b"gr\xc3\xbc\xc3\x9fe", True), (b"\xff\x00", False), (b"a\x00", False)]
)
def test_a_sample_shows_whether_bytes_are_text(describe, tmp_path, value, is_text):
    version = tmp_path / "models" / "m" / "1"
    version.mkdir(parents=True)
    rows = np.ones((1, 2), np.float32)
    word = np.array([[value]], dtype=object)
    write_published_sample(version / "sample.npz", Sample(inputs={"x": rows}, outputs={"word": word}))
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (found,) = describe_repository(ModelRepository(tmp_path / "models"))
    assert outputs(found)["word"].is_text is is_text
    assert found.example.inputs["x"].shape == (2,)
    assert found.example.path == "models/m/1/sample.npz"


def test_a_damaged_sample_is_no_example(describe, tmp_path):
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "sample.npz").write_bytes(b"no archive")
    (tmp_path / "models" / "m" / "config.pbtxt").write_text(CONFIG)
    (found,) = describe_repository(ModelRepository(tmp_path / "models"))
    assert found.example is None


def test_a_tensor_without_a_type_is_named(describe):
    with pytest.raises(ConfigError, match="tensor 'x' of model 'm'"):
        describe(config='input [ { name: "x" dims: [ 1 ] } ]')


def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "models" / "m").mkdir(parents=True)
    with pytest.raises(RepositoryError, match="no model 'n'"):
        describe_repository(ModelRepository(tmp_path / "models"), ["n"])
