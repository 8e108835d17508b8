# SPDX-License-Identifier: Apache-2.0
"""The JSON schema of pipeline files, by which editors complete them: the parameters of each shipped step are in it."""

__all__ = ["pipeline_schema"]

import re
from collections.abc import Mapping, Sequence
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import StepKind, step_kind, step_names
from repo_tool.pipelines.spec import WIRE_PATTERN, BlockDeclaration, PipelineFile, StepDeclaration
from repo_tool.pipelines.step_page import step_facts

_Schema = dict[str, Any]
_FILE = {"$ref": "#/$defs/FileReference"}
_WIRE: _Schema = {"type": "string", "minLength": 1, "pattern": WIRE_PATTERN}
_NAME = re.compile(r"`(\w+)`")
_DESCRIPTIONS: Mapping[type, Mapping[str, str]] = {
    PipelineFile: {
        "name": "Of the model that clients call.",
        "description": "One line for people.",
        "inputs": "What a client sends, by name.",
        "steps": "What happens to it, in order.",
        "outputs": "Which wires a client reads: a list, or a map of its tensors to wires.",
        "max_batch_size": "The most rows of a request; 0: a request is one batch. Default: the least of its models.",
        "merge": "Whether neighbouring arithmetic steps and ONNX models become one graph.",
        "execution_env": "A conda-pack archive beside this file, for the Python-backend models.",
    },
    StepDeclaration: {
        "name": "How messages and `--trace` call it.",
        "model": "A model of the repository.",
        "version": "Of the model; -1, the default, is its newest.",
        "inputs": "Its tensors, and the wires that they read; a tensor left out reads the wire of its own name.",
        "outputs": "Its tensors, and the wires that they write; a tensor left out writes the wire of its own name.",
        "merge": "Whether it may become part of one ONNX graph with its neighbours.",
    },
    BlockDeclaration: {
        "name": "How messages and `--trace` call it.",
        "steps": "What happens inside, in order.",
        "outputs": "The wires written inside that are seen outside: a list, or a map {inside: outside}.",
    },
}


def pipeline_schema() -> _Schema:
    """JSON schema, draft 2020-12."""
    schema = PipelineFile.model_json_schema(by_alias=True)
    shared: dict[str, _Schema] = schema.pop("$defs")
    shared |= _described(shared, schema)
    step: _Schema = shared.pop("StepDeclaration")
    names = step_names()
    shared["Wire"] = dict(_WIRE)
    shared |= {f"Step{key.capitalize()}": step["properties"][key] for key in ("name", "merge")}
    shared["InputDeclaration"]["properties"]["datatype"] = {"enum": list(DataType.__members__)}
    shared["FileReference"] = {
        "type": "object",
        "properties": {"file": {"type": "string", "minLength": 1}},
        "required": ["file"],
        "additionalProperties": False,
        "description": "A file beside the pipeline file; it travels with the pipeline.",
    }
    shared |= {f"step_{name}": _shipped(step_kind(name), step, shared) for name in names}
    shared["own_step"] = _own(step)
    shared["model"] = _model(step)
    kinds = [*(f"step_{name}" for name in names), "own_step", "model", "BlockDeclaration"]
    shared["step"] = {"oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}
    schema["properties"]["steps"]["items"] = {"$ref": "#/$defs/step"}
    block = shared["BlockDeclaration"]
    block["properties"]["steps"]["items"] = {"$ref": "#/$defs/step"}
    block["oneOf"] = [{"required": [kind]} for kind in ("when", "for_each", "repeat")]
    block["anyOf"] = [{"required": ["when"]}, {"required": ["outputs"]}]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pipeline.yaml"}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}, "$defs": shared}


def _described(shared: dict[str, _Schema], schema: _Schema) -> dict[str, _Schema]:
    """Titles that only repeat names are left out; what a field means is told."""
    for kind, words in _DESCRIPTIONS.items():
        of_kind = schema if kind is PipelineFile else shared[kind.__name__]
        for name, text in words.items():
            of_kind["properties"][name]["description"] = text
        of_kind["properties"]["outputs"] = _names_or_map(of_kind["properties"]["outputs"], kind)
    for each in (schema, *shared.values()):
        for inner in each.get("properties", {}).values():
            inner.pop("title", None)
            _limit_names(inner)
    return shared


def _limit_names(field: _Schema) -> None:
    """Pydantic tells of keys of a pattern what they hold, and takes others that hold anything."""
    for each in (field, *field.get("anyOf", ())):
        for pattern, inner in each.pop("patternProperties", {}).items():
            each["additionalProperties"] = inner
            each["propertyNames"] = {**each["propertyNames"], "pattern": pattern}


def _names_or_map(outputs: _Schema, kind: type) -> _Schema:
    if kind is StepDeclaration:
        return outputs
    names = {"type": "array", "items": dict(_WIRE), "uniqueItems": True}
    told = {key: value for key, value in outputs.items() if key not in ("description", "default")}
    return {"description": outputs["description"], "anyOf": [names, told]}


def _shipped(kind: StepKind, step: _Schema, shared: dict[str, _Schema]) -> _Schema:
    """A shipped step: its parameters under ``with``, the names of its tensors under ``inputs`` and ``outputs``."""
    parameters, facts = kind.parameters, step_facts(kind)
    shared |= {name: _with_files(inner) for name, inner in parameters.pop("$defs", {}).items()}
    fields = {
        name: _parameter(field, _told_of(name, facts["text"]))
        for name, field in parameters.get("properties", {}).items()
    }
    needed = {"required": parameters["required"]} if parameters.get("required") else {}
    properties = {
        "use": {"const": kind.name, "description": facts["summary"]},
        "with": {"type": "object", "properties": fields, "additionalProperties": False, **needed},
        **_own_keys(step),
    }
    properties |= {key: _tensors(facts[key], properties[key]) for key in ("inputs", "outputs")}
    return {
        "type": "object",
        "description": facts["summary"],
        "properties": properties,
        "required": ["use", *(["with"] if needed else [])],
        "additionalProperties": False,
    }


def _own_keys(step: _Schema) -> _Schema:
    own = {key: dict(step["properties"][key]) for key in ("inputs", "outputs")}
    return {"name": {"$ref": "#/$defs/StepName"}, **own, "merge": {"$ref": "#/$defs/StepMerge"}}


def _tensors(names: Sequence[str], schema: _Schema) -> _Schema:
    """Only those names, where they are known."""
    if not names:
        return schema
    wires = {name: {"$ref": "#/$defs/Wire"} for name in names}
    return {"type": "object", "description": schema["description"], "properties": wires, "additionalProperties": False}


def _own(step: _Schema) -> _Schema:
    use = {"type": "string", "pattern": r"^[\w.]+:\w+$", "description": "A step of the pipeline's own: module:Class."}
    return {
        "type": "object",
        "properties": {"use": use, "with": {"type": "object"}, **_own_keys(step)},
        "required": ["use"],
        "additionalProperties": False,
    }


def _model(step: _Schema) -> _Schema:
    properties = step["properties"]
    name = {"type": "string", "description": properties["model"]["description"]}
    version = {"anyOf": [_whole_number(properties["version"]), {"const": -1}]} | {
        "description": properties["version"]["description"]
    }
    return {
        "type": "object",
        "properties": {"model": name, "version": version, **_own_keys(step)},
        "required": ["model"],
        "additionalProperties": False,
    }


def _whole_number(field: _Schema) -> _Schema:
    return next(dict(each) for each in field["anyOf"] if each.get("type") == "integer")


def _told_of(name: str, text: str) -> str:
    """The line about a parameter in what a step says of itself, or the paragraph that names it; "" if none does."""
    for line in text.removeprefix("- ").split("\n- "):
        names, colon, words = line.partition(":")
        if colon and name in _NAME.findall(names):
            return _sentence(words.partition("\n\n")[0])
    about = [paragraph for paragraph in text.split("\n\n") if name in _NAME.findall(paragraph)]
    return _sentence(about[0].removeprefix("- ")) if about else ""


def _sentence(text: str) -> str:
    words = " ".join(text.split())
    return words[:1].upper() + words[1:]


def _parameter(field: _Schema, description: str) -> _Schema:
    field = {key: value for key, value in field.items() if key != "title"}
    told = {"description": description} if description and "description" not in field else {}
    return {**_with_files(field), **told}


def _with_files(field: _Schema) -> _Schema:
    """The same, where a file may stand for a text, for a list of lines, or must for a path."""
    kept: _Schema = {key: field[key] for key in ("default", "description") if key in field and field[key] is not None}
    if field.get("format") in ("path", "file-path"):
        return {**kept, **_FILE}
    if "anyOf" in field:
        plain = [_with_files(each) for each in field["anyOf"]]
        options = [option for each in plain for option in each.get("anyOf", [each])]
        unique = [option for place, option in enumerate(options) if option not in options[:place]]
        return {**field, "anyOf": unique}
    if isinstance(field.get("items"), dict):
        field = {**field, "items": _with_files(field["items"])}
    if isinstance(field.get("additionalProperties"), dict):
        return {**field, "additionalProperties": _with_files(field["additionalProperties"])}
    is_text = field.get("type") == "string" and not {"enum", "const"} & set(field)
    if not is_text and field.get("type") != "array":
        return field
    return {**kept, "anyOf": [{key: value for key, value in field.items() if key not in kept}, _FILE]}
