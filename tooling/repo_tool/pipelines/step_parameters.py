# SPDX-License-Identifier: Apache-2.0
"""The parameters of a step as a pipeline file gives them, with the files that they name as the step wants them."""

__all__ = ["with_files"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from repo_tool.errors import PipelineError
from repo_tool.pipelines.beside import file_reference
from repo_tool.pipelines.spec import PipelineFile

_Schema = Mapping[str, Any]  # JSON schema
_MOST_BYTES = 8 << 20  # a million words


def with_files(given: Mapping[str, Any], schema: _Schema, pipeline: PipelineFile, title: str) -> dict[str, Any]:
    """Each ``{file: name}`` as what the parameter wants: its path, its lines, or its text.

    Raises:
        PipelineError: a file is missing or no text, or a parameter that wants a file is given something else.
    """
    properties = schema.get("properties")  # an own step's class may tell anything
    fields = {name: each for name, each in properties.items() if _is_object(each)} if _is_object(properties) else {}
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
        _refuse_large(path, where)
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


def _refuse_large(path: Path, where: str) -> None:
    if path.stat().st_size > _MOST_BYTES:
        raise PipelineError(
            f"{where} takes what stands in '{path}', which has {path.stat().st_size >> 20} MiB",
            cause=f"it becomes part of a configuration, and at most {_MOST_BYTES >> 20} MiB of a file do",
            next_step="name a smaller file",
        )


def _is_map(schema: _Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), dict)


def _alternatives(schema: _Schema) -> "list[_Schema]":
    options = schema.get("anyOf")
    return [schema, *(each for each in options if _is_object(each))] if isinstance(options, list) else [schema]


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _content(path: Path, *, is_text: bool) -> str | list[str]:
    """Its lines without empty ones, or where one text is wanted all of it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(
            f"'{path}' is no UTF-8 text", cause=str(error), next_step="write it anew as UTF-8"
        ) from error
    return text.strip() if is_text else [line.strip() for line in text.splitlines() if line.strip()]
