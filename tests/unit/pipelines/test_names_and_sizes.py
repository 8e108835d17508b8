# SPDX-License-Identifier: Apache-2.0
"""Names, sizes and depths that no model can have are refused as soon as a file is read, and by the schema."""

import json
from pathlib import Path

import jsonschema
import pytest

from repo_tool.errors import PipelineError
from repo_tool.pipelines.spec import read_pipeline

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "pipeline.schema.json").read_text())
STEP = {"use": "softmax"}
IMAGE = {"datatype": "FP32", "dims": [3]}
WHOLE = {"name": "tried-1.0", "inputs": {"logits": IMAGE}, "steps": [STEP], "outputs": ["probabilities"]}


def nested(depth):
    step = STEP
    for _ in range(depth):
        step = {"repeat": {"carry": {"a": "b"}, "at_most": 1}, "steps": [step], "outputs": ["a"]}
    return step


def read(folder, values):
    path = folder / "tried.json"
    path.write_text(json.dumps(values))
    return read_pipeline(path)


def in_schema(values):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(values)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"inputs": {"a b:0/ü": IMAGE}},
        {"inputs": {"logits": IMAGE | {"dims": [2**63 - 1]}}},
        {"steps": [nested(16)]},
    ],
)
def test_it_takes(tmp_path, more):
    assert in_schema(WHOLE | more)
    assert read(tmp_path, WHOLE | more).name == "tried-1.0"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        *(({"name": name}, "is not a model name") for name in ("../evil", "a b", "", "-a", "a\nb")),
        ({"name": "a" * 201}, "200"),
        ({"inputs": {"a\0b": IMAGE}}, "control character"),
        ({"outputs": {"a\nb": "probabilities"}}, "control character"),
        ({"steps": [STEP | {"outputs": {"probabilities": "a\tb"}}]}, "control character"),
        ({"inputs": {"logits": IMAGE | {"dims": [10**20 - 1]}}}, "9223372036854775807"),
        ({"max_batch_size": 2**31}, "2147483647"),
        ({"steps": [{"model": "cnn", "version": 2**63}]}, "9223372036854775807"),
    ],
)
def test_it_refuses(tmp_path, more, words):
    assert not in_schema(WHOLE | more)
    with pytest.raises(PipelineError) as raised:
        read(tmp_path, WHOLE | more)
    assert words in str(raised.value)


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (nested(17), "more than 16 blocks lie in one another"),
        (nested(200), "more than 16 blocks lie in one another"),
        (STEP | {"with": {"axis": deep(100)}}, "more than 60 values lie in one another"),
    ],
)
def test_what_lies_too_deep_is_told_in_a_line(tmp_path, step, words):
    with pytest.raises(PipelineError) as raised:
        read(tmp_path, WHOLE | {"steps": [step]})
    assert words in str(raised.value)
    assert len(str(raised.value)) < 500
