# SPDX-License-Identifier: Apache-2.0
"""What the shipped steps say of themselves: one as facts or a section, all of them as a page."""

__all__ = ["step_facts", "step_markdown", "steps_page"]

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from repo_tool.pipelines.catalogue import StepKind, step_kind, step_names

_INTRODUCTION = """\
# The steps that ship with `repo-tool`

This page is made from the steps themselves: `make docs`. `repo-tool pipeline steps NAME` shows one of them;
[pipelines.md](pipelines.md) tells how a pipeline file names them.

A step that **can become ONNX** is merged into one graph with the models and steps beside it; what it cannot do there
with its parameters, `repo-tool pipeline explain` tells. The others run in a Python-backend model, one for all
neighbours, which imports numpy and the packages named here. Dims are those of one row; -1 is a free one.
"""
_WORDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "file",
    type(None): "nothing",
    Any: "anything",
}
_AS_ITS_PARAMETERS_SAY = "as its parameters say"
_PARAMETER_LINE = re.compile(r"^(?=`\w+`(?:,? (?:and |\([^)]*\)|`\w+`)+)*:)", re.MULTILINE)


def steps_page() -> str:
    """All steps, as Markdown."""
    kinds = [step_kind(name) for name in step_names()]
    rows = [
        f"| [`{kind.name}`](#{kind.name}) | {_cell(_summary(kind))} | {'yes' if _has_graph(kind) else ''} |"
        for kind in kinds
    ]
    table = "\n".join(["| step | what it does | can become ONNX |", "|---|---|---|", *rows])
    return "\n".join([_INTRODUCTION, table, "", *(f"## {kind.name}\n\n{step_markdown(kind)}" for kind in kinds)])


def step_markdown(kind: StepKind) -> str:
    """Everything about one step but its name, as Markdown."""
    facts = step_facts(kind)
    lines = [
        f"- **Takes** {_tensors(facts['inputs'])}",
        f"- **Gives** {_tensors(facts['outputs'])}: {_markdown(inspect.getdoc(kind.code.outputs) or '')}",
        f"- **Runs** {_place(facts)}",
    ]
    parts = [facts["summary"], "\n".join(lines), facts["text"], _parameters_table(facts["parameters"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def step_facts(kind: StepKind) -> dict[str, Any]:
    """All that is known of a step, as plain values; no names of tensors where its parameters tell them."""
    return {
        "name": kind.name,
        "summary": _summary(kind),
        "text": _listed(_markdown(inspect.getdoc(kind.code) or "")),
        "inputs": list(kind.inputs),
        "outputs": list(_output_names(kind)),
        "parameters": [_parameter(field, hint) for field, hint in _fields(kind)],
        "graph": _has_graph(kind),
        "heavy": kind.heavy,
        "packages": list(kind.packages),
    }


def _summary(kind: StepKind) -> str:
    return _markdown(inspect.getdoc(inspect.getmodule(kind.code)) or "").partition("\n\n")[0]


def _has_graph(kind: StepKind) -> bool:
    return hasattr(kind.code, "graph")


def _place(facts: dict[str, Any]) -> str:
    words = ["as ONNX or in Python" if facts["graph"] else "in Python"]
    if facts["packages"]:
        words.append("with " + ", ".join(f"`{package}`" for package in facts["packages"]))
    if facts["heavy"]:
        words.append("in an instance for each core")
    return ", ".join(words)


def _tensors(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or _AS_ITS_PARAMETERS_SAY


def _fields(kind: StepKind) -> Iterator[tuple["dataclasses.Field[Any]", Any]]:
    hints = typing.get_type_hints(kind.code)
    for field in dataclasses.fields(kind.code):
        yield field, hints[field.name]


def _parameter(field: "dataclasses.Field[Any]", hint: Any) -> dict[str, Any]:
    return {"name": field.name, "type": _type_words(hint), **_default(field)}


def _default(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    if field.default_factory is not dataclasses.MISSING:
        return {"default": field.default_factory()}
    return {} if field.default is dataclasses.MISSING else {"default": field.default}


def _type_words(hint: Any) -> str:
    """A type as a person says it who writes YAML."""
    arguments = typing.get_args(hint)
    kinds: dict[Any, Callable[[], str]] = {
        Literal: lambda: ", ".join(f"`{value}`" for value in arguments),
        types.UnionType: lambda: " or ".join(_type_words(each) for each in arguments if each is not types.NoneType),
        list: lambda: f"list of {_type_words(arguments[0])}",
        tuple: lambda: f"list of {_type_words(arguments[0])}",
        dict: lambda: f"map of {_type_words(arguments[0])} to {_type_words(arguments[1])}",
    }
    origin = typing.get_origin(hint)
    kinds[typing.Union] = kinds[types.UnionType]
    if origin in kinds:
        return kinds[origin]()
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _parameters_table(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return "It has no parameters."
    rows = [f"| `{each['name']}` | {_cell(each['type'])} | {_default_words(each)} |" for each in parameters]
    return "\n".join(["| parameter | type | default |", "|---|---|---|", *rows])


def _default_words(parameter: dict[str, Any]) -> str:
    if "default" not in parameter:
        return "**needed**"
    default = parameter["default"]
    if default is None:
        return ""
    written = str(default).lower() if isinstance(default, bool) else str(default)
    return _cell(f"`{written}`") if written else "the empty text"


def _output_names(kind: StepKind) -> tuple[str, ...]:
    """The keys of what its ``outputs`` returns; none where they are computed."""
    method = ast.parse(textwrap.dedent(inspect.getsource(kind.code.outputs)))
    returned = [node.value for node in ast.walk(method) if isinstance(node, ast.Return)]
    keys = [key for value in returned if isinstance(value, ast.Dict) for key in value.keys]
    names = [str(key.value) for key in keys if isinstance(key, ast.Constant)]
    told = len(names) == len(keys) and all(isinstance(value, ast.Dict) for value in returned)
    return tuple(dict.fromkeys(names)) if told else ()


def _listed(text: str) -> str:
    """The lines that begin with the name of a parameter, as a list."""
    return _PARAMETER_LINE.sub("- ", text).replace("\n\n- ", "\n- ").replace("\n- ", "\n\n- ", 1)


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
