# SPDX-License-Identifier: Apache-2.0
"""The parameters of a step as a pipeline file gives them, with the files that they name as the step wants them."""

__all__ = ["with_files"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repo_tool.errors import PipelineError
from repo_tool.pipelines.beside import file_reference
from repo_tool.pipelines.spec import PipelineFile

_Schema = Mapping[str, Any]  # JSON schema


def with_files(given: Mapping[str, Any], schema: _Schema, pipeline: PipelineFile, title: str) -> dict[str, Any]:
    """Each ``{file: name}`` as what the parameter wants: its path, its lines, or its text.

    Raises:
        PipelineError: a file is missing or no text, or a parameter that wants a file is given something else.
    """
    fields: Mapping[str, _Schema] = schema.get("properties", {})
    return {
        name: _resolved(value, fields.get(name, {}), pipeline, f"{title}, `{name}:`") for name, value in given.items()
    }


def _resolved(value: Any, schema: _Schema, pipeline: PipelineFile, where: str) -> Any:
    name = file_reference(value)
    kinds = list(_alternatives(schema))
    wants_path = any(kind.get("format") in ("path", "file-path") for kind in kinds)
    if name is not None:
        path = pipeline.file(name)
        if wants_path:
            return path.absolute()
        return _content(path, is_text=any(kind.get("type") == "string" for kind in kinds))
    if isinstance(value, str) and wants_path:
        raise PipelineError(
            f"{where} wants a file and gets the text '{value}'",
            cause="files are named apart from text, so that they travel with the pipeline",
            next_step=f"write {{file: {value}}}",
        )
    if isinstance(value, list):
        items: _Schema = next((kind["items"] for kind in kinds if isinstance(kind.get("items"), dict)), {})
        return [_resolved(inner, items, pipeline, where) for inner in value]
    if isinstance(value, Mapping):
        inside: _Schema = next((kind["additionalProperties"] for kind in kinds if _is_map(kind)), {})
        return {key: _resolved(inner, inside, pipeline, where) for key, inner in value.items()}
    return value


def _is_map(schema: _Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), dict)


def _alternatives(schema: _Schema) -> "list[_Schema]":
    return [schema, *(each for each in schema.get("anyOf", ()) if isinstance(each, dict))]


def _content(path: Path, *, is_text: bool) -> str | list[str]:
    """Its lines without empty ones, or where one text is wanted all of it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(
            f"'{path}' is no UTF-8 text", cause=str(error), next_step="write it anew as UTF-8"
        ) from error
    return text.strip() if is_text else [line.strip() for line in text.splitlines() if line.strip()]
