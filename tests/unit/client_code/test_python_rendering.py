# SPDX-License-Identifier: Apache-2.0
import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.client_code.python.layout import bracketed, bytes_literal, string_literal, tuple_source
from repo_tool.client_code.python.renderer import render_python
from repo_tool.datatypes import DataType

HOSTILE = (
    '"""\nimport os\nos.abort()\n"""',
    "'''\nimport os\n",
    "\\",
    '\\"""',
    "a\nimport os",
    "a\r\nimport os",
    "\u2028import os",
    "}}{{ 7 * 7 }}{% raw %}",
    "# noqa",
    "\x00",
    "'\"",
)


def model(name="model", *, tensor="x", **more):
    facts = {
        "inputs": (TensorDescription(name=tensor, datatype=DataType.FP32, shape=(2,)),),
        "outputs": (TensorDescription(name=tensor, datatype=DataType.FP32, shape=(2,), classes=("a", "b")),),
        "max_batch_size": 4,
    }
    return ModelDescription(name=name, **{**facts, **more})


@given(st.text())
def test_a_string_is_written_as_it_is(text):
    assert ast.literal_eval(string_literal(text)) == text
    assert "\n" not in string_literal(text)


@given(st.binary())
def test_bytes_are_written_as_they_are(value):
    assert ast.literal_eval(bytes_literal(value)) == value


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_model_says_becomes_code(text):
    words = tuple(dict.fromkeys((text, "b")))
    outputs = (
        TensorDescription(name=text, datatype=DataType.FP32, shape=(2,), classes=words),
        TensorDescription(name="word", datatype=DataType.BYTES, shape=(1,), words=words, is_text=True),
    )
    inputs = (TensorDescription(name=text, datatype=DataType.FP32, shape=(2,), columns=words),)
    source = render_python(
        [model(text, about=text, made_with=text, release=text, inputs=inputs, outputs=outputs, version=1)]
    )
    tree = ast.parse(source)
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported == ["collections.abc", "dataclasses", "typing", "repo_client.typed"]
    assert [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names] == [
        "numpy",
        "numpy.typing",
    ]
    assert not [node for node in tree.body if isinstance(node, ast.Expr)][1:]  # the docstring alone
    contract = next(node for node in tree.body if isinstance(node, ast.Assign) and "Contract" in ast.dump(node))
    told = {each.arg: each.value for each in contract.value.keywords}
    assert ast.literal_eval(told["model"]) == text


def test_the_order_of_the_models_changes_nothing():
    models = [model("b"), model("a"), model("c")]
    assert render_python(models) == render_python(models[::-1])


def test_only_what_is_used_is_imported():
    source = render_python([model(max_batch_size=0)])
    assert "Sequence" in source
    assert "Texts" not in source
    assert "TypedSequence" not in source


def test_what_does_not_fit_a_line_is_broken_with_a_last_comma():
    assert bracketed("f(", ["a", "b"], ")") == "f(a, b)"
    assert bracketed("f(", ["a" * 50, "b" * 50], ")") == f"f(\n    {'a' * 50},\n    {'b' * 50},\n)"
    assert tuple_source("x=", ["1"]) == "x=(1,)"


def test_the_digest_depends_on_the_signature_and_on_nothing_else():
    plain = model()
    assert plain.digest == model(about="words", version=3, release="26.07", max_batch_size=9).digest
    assert plain.digest != model(max_batch_size=0).digest
    assert plain.digest != model(tensor="y").digest
    assert plain.digest != model(is_decoupled=True).digest
    columns = TensorDescription(name="x", datatype=DataType.FP32, shape=(2,), columns=("a", "b"))
    assert plain.digest != model(inputs=(columns,)).digest
