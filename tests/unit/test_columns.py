# SPDX-License-Identifier: Apache-2.0
"""The names of columns go into one parameter and come out of it; a foreign one of that name says nothing."""

import pytest

from repo_client._documents import read_signature
from repo_tool.columns import columns_parameters, read_columns
from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig


def signature(parameters):
    metadata = {"name": "model", "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 2]}]}
    config = {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}
    return read_signature(metadata, config, version="")


@pytest.mark.parametrize("names", [("age", 'rooms, "n"'), ("größe", "a\nb")])
def test_names_come_back_as_they_were(names):
    parameters = columns_parameters({"features": names})
    assert read_columns(parameters) == {"features": names}
    assert signature(parameters).inputs[0].columns == names


@pytest.mark.parametrize("columns", [None, {}, {"features": ()}])
def test_without_names_nothing_is_published(columns):
    assert columns_parameters(columns) == {}


@pytest.mark.parametrize("value", ["a,b", "3", '["a"]', '{"features": "a"}', '{"features": [1, 2]}', "[" * 100_000])
def test_a_parameter_of_somebody_else_says_nothing(value):
    assert read_columns({"columns": value}) == {}
    assert signature({"columns": value}).inputs[0].columns == ()


def test_config_pbtxt_says_what_the_names_are_for():
    config = ModelConfig(name="m", backend="onnxruntime", parameters=columns_parameters({"features": ("größe", '"')}))
    text = pbtxt.render(config)
    assert "# The columns of a table, in the order that the model takes them" in text
    assert pbtxt.parse(text).parameters == config.parameters
