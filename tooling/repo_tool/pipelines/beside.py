# SPDX-License-Identifier: Apache-2.0
"""The files that a pipeline file names: they lie beside it or in folders below, and no others are read for it."""

__all__ = ["file_beside", "file_reference", "named_files", "paths_in", "refuse_elsewhere", "with_files_as"]

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from repo_tool.errors import PipelineError


def file_reference(value: Any) -> str | None:
    """The name in ``{file: name}``; None for any other value."""
    is_reference = isinstance(value, Mapping) and set(value) == {"file"} and isinstance(value["file"], str)
    return value["file"] if is_reference else None


def named_files(value: Any) -> Iterator[str]:
    """The names of all files among parameters."""
    names: list[str] = []
    with_files_as(value, names.append)
    yield from names


def paths_in(value: Any) -> Iterator[Path]:
    """All files among the parameters of a step as it is made."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from paths_in(inner)


def with_files_as(value: Any, replaced: Callable[[str], Any]) -> Any:
    """Parameters with ``replaced(name)`` in the place of each ``{file: name}``."""
    name = file_reference(value)
    if name is not None:
        return replaced(name)
    if isinstance(value, Mapping):
        return {key: with_files_as(inner, replaced) for key, inner in value.items()}
    return [with_files_as(inner, replaced) for inner in value] if isinstance(value, list) else value


def file_beside(name: str, folder: Path, whose: str) -> Path:
    """The path of the file ``name`` of the pipeline file in ``folder``; ``whose`` says who names it.

    Raises:
        PipelineError: it is not there, lies elsewhere, or is no regular file.
    """
    refuse_elsewhere(name, folder, whose)
    path = folder / name
    if path.is_file():
        return path
    raise PipelineError(
        f"'{path}' is no regular file" if path.exists() else f"there is no file '{path}'",
        cause=f"{whose} names '{name}'",
        next_step="write its path as seen from the pipeline file",
    )


def refuse_elsewhere(name: str, folder: Path, whose: str) -> None:
    """What a pipeline names is read, shown and published by whoever is given it, so it names only what came along.

    Raises:
        PipelineError: the name is absolute, leads out of ``folder``, or to a link that does.
    """
    try:
        is_inside = (folder / name).resolve().is_relative_to(folder.resolve())
        (folder / name).exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
        raise PipelineError(
            f"{whose} names {name[:100]!r}, which can be no file", cause=str(error), next_step="name a file beside it"
        ) from error
    if is_inside and not PurePath(name).is_absolute():
        return
    raise PipelineError(
        f"{whose} names '{name}', which {'lies outside its folder' if not is_inside else 'is an absolute path'}",
        cause="what a pipeline names lies beside its file or in folders below, and travels with it; a link counts as "
        "what it leads to",
        next_step="copy the file beside the pipeline file, and write its path as seen from there",
    )
