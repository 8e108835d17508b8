# SPDX-License-Identifier: Apache-2.0
"""A pipeline's file as it is published with it, to be read, drawn and run without the folder that it came from."""

__all__ = ["ASSETS_FOLDER", "PUBLISHED_NAME", "published_files"]

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path, PurePosixPath

from repo_tool.pipelines.spec import (
    ASSETS_FOLDER,
    PUBLISHED_NAME,
    BlockDeclaration,
    PipelineFile,
    StepDeclaration,
)

Content = Path | bytes


def published_files(
    pipeline: PipelineFile, taken: Mapping[str, Content], *, newest: Mapping[str, int] | None = None
) -> dict[str, Content]:
    """``pipeline.json`` and the files that it names in ``assets/``, by their paths in the version folder.

    ``newest`` are the versions of the models of which the file names none: it names them from now on.
    The archive of an ``execution_env`` is left out: it lies beside the models that need it, and runs nowhere else.
    """
    names: dict[str, str] = {}
    files: dict[str, Content] = {}
    for name in (*pipeline.file_names, *pipeline.source_names):
        path = pipeline.file(name).absolute()
        place = next(each for each in _places(name, pipeline) if {**taken, **files}.get(each, path) == path)
        names[name] = PurePosixPath(place).relative_to(ASSETS_FOLDER).as_posix()
        files[place] = path
    pinned = pipeline.model_copy(update={"steps": list(_pinned(pipeline.steps, newest or {}))})
    pinned = pinned.with_file_names(names.__getitem__)
    values = pinned.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"execution_env"})
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return {**files, PUBLISHED_NAME: text.encode()}


def _pinned(
    steps: Iterable[StepDeclaration | BlockDeclaration], newest: Mapping[str, int]
) -> Iterator[StepDeclaration | BlockDeclaration]:
    for step in steps:
        if isinstance(step, BlockDeclaration):
            yield step.model_copy(update={"steps": list(_pinned(step.steps, newest))})
        elif step.model is not None and step.version is None and step.model in newest:
            yield step.model_copy(update={"version": newest[step.model]})
        else:
            yield step


def _places(name: str, pipeline: PipelineFile) -> Iterator[str]:
    """A source keeps its path, by which it is imported; another file has its own name, numbered where it is taken."""
    path = PurePosixPath(name)
    if name in pipeline.source_names:
        yield f"{ASSETS_FOLDER}/{path}"
    yield f"{ASSETS_FOLDER}/{path.name}"
    yield from (f"{ASSETS_FOLDER}/{number}_{path.name}" for number in count(2))
