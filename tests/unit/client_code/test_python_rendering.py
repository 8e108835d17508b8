# SPDX-License-Identifier: Apache-2.0
import ast
import subprocess
import sys
from collections import Counter

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


def labelled(name, words):
    return TensorDescription(name=name, datatype=DataType.FP32, shape=(len(words),), classes=words)


def bound(body):
    """The names that a body of statements binds."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets)


def twice(body):
    return [name for name, times in Counter(bound(body)).items() if times > 1]


def test_no_name_of_a_file_is_bound_twice():
    texts = tuple(TensorDescription(name=f"t{rank}", datatype=DataType.BYTES, shape=(2,) * rank) for rank in (1, 2))
    manners = [model("rows", inputs=texts), model("sums", is_sequence=True), model("counts", is_decoupled=True)]
    plain = ast.parse(render_python([*manners, model("whole", max_batch_size=0)]))
    imported = list(bound(node for node in plain.body if isinstance(node, ast.Import | ast.ImportFrom)))
    assert {"np", "dataclass", "Sequence", "NestedTexts", "AsyncTypedSequence"} < set(imported)
    many = tuple(labelled(f"y{number}", (f"word {number}", "b")) for number in range(12))
    models = [*map(model, imported), *map(model, ("a-b", "a_b", "a b", "many_label11"))]
    tree = ast.parse(render_python([*models, model("many", outputs=many)]))
    assert twice(tree.body) == []
    contracts = [
        node.value.id for node in ast.walk(tree) if isinstance(node, ast.Assign) and "contract" in bound([node])
    ]
    assert len(set(contracts)) == len(models) + 1


def test_no_field_of_a_batch_is_hidden_by_a_property():
    outputs = (labelled("p", ("a", "b")), TensorDescription(name="p_labels", datatype=DataType.FP32, shape=(2,)))
    tree = ast.parse(render_python([model(outputs=outputs)]))
    assert [twice(node.body) for node in tree.body if isinstance(node, ast.ClassDef) and twice(node.body)] == []


def test_a_parameter_hides_nothing_that_its_method_needs():
    names = ("ModelResult", "ModelBatch", "ModelRow", "ModelLabel", "Model", "AsyncModel")
    tensors = tuple(labelled(name, ("a", "b")) for name in names)
    tree = ast.parse(render_python([model(inputs=tensors, outputs=tensors)]))
    assert set(names) < set(bound(tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            own = node.args.kwonlyargs if not isinstance(node, ast.ClassDef) else ()
            assert not {*(each.arg for each in own), *bound(node.body if isinstance(node, ast.ClassDef) else ())} & {
                *names
            }


@pytest.mark.parametrize("width", [88, 120])
@pytest.mark.parametrize("length", [22, 40])
def test_a_formatter_changes_nothing_of_long_names(length, width):
    long = "y" * (length + 10)
    words = {"words": ("a", "b"), "is_text": True}
    outputs = (
        labelled(long, ("a", "b")),
        TensorDescription(name=f"w{long}", datatype=DataType.BYTES, shape=(2, 2), **words),
    )
    word = (TensorDescription(name="y", datatype=DataType.BYTES, shape=(1,), **words),)
    name = "m" * length
    source = render_python(
        [
            model(name, outputs=outputs),
            model(f"{name}1", outputs=outputs, max_batch_size=0),
            model(f"{name}2", outputs=word, is_decoupled=True),
            model(f"{name}3", outputs=word, is_sequence=True),
        ]
    )
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", str(width), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    assert done.stdout == source


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
