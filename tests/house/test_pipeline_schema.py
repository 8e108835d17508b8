# SPDX-License-Identifier: Apache-2.0
"""The published schema of pipeline files is that of the code, takes every example, and refuses what editors should."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from repo_tool.pipelines.catalogue import step_names
from repo_tool.pipelines.schema import pipeline_schema

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "pipeline.schema.json"
SCHEMA = json.loads(PUBLISHED.read_text())
HEAD = "# yaml-language-server: $schema=../../docs/pipeline.schema.json"
READER = yaml.safe_load((ROOT / "examples" / "demo" / "digits_reader.yaml").read_text())


def is_pipeline(path):
    values = yaml.safe_load(path.read_text())
    return isinstance(values, dict) and {"inputs", "steps", "outputs"} <= values.keys()


PIPELINES = [path for path in sorted((ROOT / "examples").glob("*/*.yaml")) if is_pipeline(path)]


def problems(value):
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(value)]


def test_the_published_schema_is_current():
    words = "write it anew: make docs"
    assert pipeline_schema() == SCHEMA, words
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_what_it_takes_and_tells_editors_where_it_is(path):
    assert problems(yaml.safe_load(path.read_text())) == []
    assert path.read_text().splitlines()[0] == HEAD


def test_it_knows_every_step_with_its_parameters_and_tensors():
    assert {f"step_{name}" for name in step_names()} <= SCHEMA["$defs"].keys()
    resize = SCHEMA["$defs"]["step_resize"]["properties"]
    assert resize["with"]["properties"]["library"]["enum"] == ["pil", "opencv"]
    assert list(resize["inputs"]["properties"]) == ["pixels"]
    assert all(SCHEMA["$defs"][f"step_{name}"]["description"] for name in step_names())


BLOCK = {"when": {"wire": "p", "is_below": 0.5, "otherwise": {"x": {"wire": "y"}}}, "steps": [{"use": "softmax"}]}


@pytest.mark.parametrize(
    "step",
    [
        {"use": "softmax", "with": {}},
        {"use": "my_steps:Sharpen", "with": {"anything": [1]}},
        {"model": "m", "version": 2, "merge": False},
        {"model": "m", "version": -1},
        {"use": "top_k_labels", "with": {"labels": ["a", "b"]}},
        BLOCK,
        {"for_each": {"items": {"a": "b"}, "pad": {"a": 0}}, "steps": [BLOCK], "outputs": ["x"]},
        {"repeat": {"carry": {"a": "b"}, "at_most": 2}, "steps": [{"use": "softmax"}], "outputs": {"x": "y"}},
    ],
)
def test_it_takes(step):
    assert problems({**READER, "steps": [step]}) == []


@pytest.mark.parametrize(
    "step",
    [
        {"use": "softmaxx"},
        {"use": "softmax", "with": {"axes": 1}},
        {"use": "top_k_labels"},
        {"use": "decode_image", "with": {"height": "8", "width": 8}},
        {"use": "resize", "with": {"height": 8, "width": 8, "library": "pillow"}},
        {"use": "softmax", "inputs": {"logit": "x"}},
        {"use": "softmax", "model": "m"},
        {"model": "m", "with": {"k": 1}},
        {"model": "m", "version": 0},
        {"steps": [{"use": "softmax"}]},
        {"repeat": {"carry": {"a": "b"}, "at_most": 2}, "steps": [{"use": "softmax"}]},
        {**BLOCK, "for_each": {"items": {"a": "b"}}, "outputs": ["x"]},
        {**BLOCK, "steps": [{"use": "softmaxx"}]},
        {**BLOCK, "when": {"wire": "p"}},
        {},
    ],
)
def test_it_refuses(step):
    assert problems({**READER, "steps": [step]})


@pytest.mark.parametrize("key", ["name", "inputs", "steps", "outputs"])
def test_it_asks_for_what_is_needed_and_refuses_what_is_unknown(key):
    without = copy.deepcopy(READER)
    value = without.pop(key)
    assert problems(without)
    assert problems({**without, key + "s": value})
