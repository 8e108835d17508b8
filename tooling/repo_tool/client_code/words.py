# SPDX-License-Identifier: Apache-2.0
"""The words that a pipeline's outputs can say, as far as its published file tells."""

__all__ = ["pipeline_words", "read_published_pipeline"]

import json
from collections.abc import Mapping
from typing import Any

from repo_tool.errors import ModelNameError
from repo_tool.pipelines.spec import ASSETS_FOLDER, PUBLISHED_NAME
from repo_tool.repository.layout import ModelDirectory, ModelRepository

# The outputs that hold words of the parameter `labels`, by step.
_WORDS_OF_STEPS = {"top_k_labels": ("label", "top_labels"), "label_lookup": ("label",)}
_LARGEST = 1 << 22  # bytes


def read_published_pipeline(directory: ModelDirectory, version: int | None) -> Mapping[str, Any]:
    """The ``pipeline.json`` of a version; nothing where there is none that reads."""
    try:
        path = directory.version_path(version or 0) / PUBLISHED_NAME
        with path.open("rb") as stream:
            found = json.loads(stream.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    is_pipeline = isinstance(found, Mapping) and isinstance(found.get("steps"), list)
    return found if is_pipeline and isinstance(found.get("outputs") or {}, Mapping) else {}


def pipeline_words(
    repository: ModelRepository, directory: ModelDirectory, version: int | None, facts: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """The words of each output, of a pipeline or of a model that was generated for one."""
    pipeline = read_published_pipeline(directory, version)
    if pipeline:
        wires, outputs = _words_of_wires(pipeline, directory, version), pipeline.get("outputs") or {}
        return {name: wires[wire] for name, wire in outputs.items() if wire in wires}
    try:
        parent = repository.model(str(facts.get("pipeline") or "none"))
    except ModelNameError:
        return {}
    latest = max(parent.versions(), default=None)
    return _words_of_wires(read_published_pipeline(parent, latest), parent, latest)


def _words_of_wires(
    pipeline: Mapping[str, Any], directory: ModelDirectory, version: int | None
) -> dict[str, tuple[str, ...]]:
    """The words of each wire that only one step writes; steps inside blocks count for nothing."""
    found: dict[str, tuple[str, ...]] = {}
    for step in filter(_is_step, pipeline.get("steps") or ()):
        names = _WORDS_OF_STEPS.get(str(step.get("use")), ())
        parameters: Mapping[str, Any] = step.get("with") or {}
        words = _words(parameters.get("labels"), directory, version)
        if parameters.get("replacement") is not None:
            words = (*words, str(parameters["replacement"])) if words else ()
        wires: Mapping[str, str] = step.get("outputs") or {}
        for name in names:
            found[wires.get(name, name)] = tuple(dict.fromkeys(words))
    return {wire: words for wire, words in found.items() if words}


def _is_step(step: object) -> bool:
    """Whether it has the form of one; what somebody else wrote into the file says nothing."""
    return isinstance(step, Mapping) and all(isinstance(step.get(key) or {}, Mapping) for key in ("with", "outputs"))


def _words(labels: object, directory: ModelDirectory, version: int | None) -> tuple[str, ...]:
    if isinstance(labels, Mapping) and isinstance(labels.get("file"), str):
        return _file_words(directory, version, labels["file"])
    values = list(labels.values()) if isinstance(labels, Mapping) else labels
    is_list = isinstance(values, list) and all(isinstance(word, str) for word in values)
    return tuple(values) if is_list and isinstance(values, list) else ()


def _file_words(directory: ModelDirectory, version: int | None, name: str) -> tuple[str, ...]:
    assets = directory.version_path(version or 0) / ASSETS_FOLDER
    path = assets / name
    if not path.resolve().is_relative_to(assets.resolve()) or path.suffix != ".txt":
        return ()
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()
