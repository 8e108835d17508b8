# SPDX-License-Identifier: Apache-2.0
"""Whether a published version is still what was published: its files, its provenance, the stamps that name it."""

__all__ = ["Marks", "Problem", "marks_of", "problems", "require_intact", "shared_problems"]

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import (
    PROVENANCE_FILE,
    digest_of,
    digests_of,
    read_provenance,
    shared_digests_of,
)
from repo_tool.repository.settling import Mark, mark_of
from repo_tool.repository.stamps import provenance_digest, stamps_of

Marks = frozenset[tuple[str, Mark]]  # of a folder's files, by relative path
ProblemKind = Literal["changed", "missing", "added", "damaged", "stamp", "edited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One file of a version, or what names it, that is not as it was published."""

    kind: ProblemKind
    path: Path
    words: str  # what is wrong with it, without its path


def problems(model: ModelDirectory, version: int) -> tuple[Problem, ...]:
    """What of a version is not as published, by path; nothing for one that repo-tool did not publish."""
    found = (*_of_files(model, version), *_of_stamps(model, version))
    return tuple(sorted(found, key=lambda problem: problem.path))


def _of_files(model: ModelDirectory, version: int) -> Iterator[Problem]:
    record = model.provenance_path(version)
    if not os.path.lexists(record):
        return
    try:
        recorded: Mapping[str, str] = read_provenance(record).get("files") or {}
    except RepositoryError as error:
        yield Problem(kind="damaged", path=record, words=f"does not read: {error.cause}")
        return
    if recorded:
        folder = model.version_path(version)
        yield from _differences(folder, recorded, digests_of(folder))


def shared_problems(model: ModelDirectory) -> tuple[Problem, ...]:
    """What all versions share, but for the configurations, and is not as it was published with the newest of them.

    Nothing can be told once a newer one was there: what it brought stays, and what is known of it has gone with it.
    """
    newest = max(model.versions(), default=0)
    record = model.provenance_path(newest)
    told = Journal(ModelRepository(model.path.parent)).entries_of(model.name)
    if not record.is_file() or any((entry.version or 0) > newest for entry in told):
        return ()
    with suppress(RepositoryError):  # told of the version
        recorded: Mapping[str, str] = read_provenance(record).get("shared_files") or {}
        found = shared_digests_of(model.path) if recorded else {}
        return tuple(each for each in _differences(model.path, recorded, found) if _is_no_edit(model, each))
    return ()


def _is_no_edit(model: ModelDirectory, problem: Problem) -> bool:
    """Whether it is not about a configuration that changed, or a file that a server does not look for."""
    name = problem.path.relative_to(model.path)
    if problem.kind == "added":
        return len(name.parts) > 1 and name.suffix != ".pbtxt"
    return problem.kind == "missing" or name.suffix != ".pbtxt"


def _of_stamps(model: ModelDirectory, version: int) -> Iterator[Problem]:
    """Configurations that name other bytes than those that are there; a missing stamp names none."""
    found = provenance_digest(model, version)
    for path, stamps in _stamps(model):
        if version in stamps and found is None:
            words = f"is missing, and {path.name} names its digest"
            yield Problem(kind="missing", path=model.provenance_path(version), words=words)
        elif version in stamps and stamps[version] != found:
            words = f"names another provenance.json than there is in version {version}"
            yield Problem(kind="stamp", path=path, words=words)


def _stamps(model: ModelDirectory) -> Iterator[tuple[Path, Mapping[int, str]]]:
    """Of each configuration that reads, its stamps by version."""
    for variant in ("", *model.variants()):
        with suppress(RepositoryError, ConfigError):  # a rule's matter, and Triton's
            yield model.served_config_path(variant), stamps_of(model.read_config(variant))


def require_intact(model: ModelDirectory, version: int) -> None:
    """See that a version is as it was published.

    Raises:
        RepositoryError: it is not, or not there; the first file is named.
    """
    if not model.version_path(version).is_dir():
        raise RepositoryError(
            f"model '{model.name}' has no version {version}",
            cause=f"there is no '{model.version_path(version)}'",
            next_step="look at the versions there are: repo-tool versions " + model.name,
        )
    found = problems(model, version)
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise RepositoryError(
            f"version {version} of '{model.name}' is not as it was published",
            cause=f"'{found[0].path}' {found[0].words}{more}",
            next_step="look at all that is wrong with repo-tool fsck, and put back what was published",
        )


def marks_of(folder: Path) -> Marks:
    """What changes with a file, at no cost: as long as it holds, digests that were computed since do, as Git has it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / PROVENANCE_FILE]
    return frozenset((path.relative_to(folder).as_posix(), mark_of(path.stat())) for path in files)


def _differences(folder: Path, recorded: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Problem]:
    for name in sorted(recorded.keys() | found.keys()):
        path = folder / name
        if name not in found:
            yield Problem(kind="missing", path=path, words="is missing")
        elif name not in recorded:
            yield Problem(kind="added", path=path, words="was not published with it")
        elif found[name] != recorded[name]:
            yield Problem(kind="changed", path=path, words=_how_changed(path, recorded[name]))


def _how_changed(path: Path, recorded: str) -> str:
    if digest_of(path, through_pointers=True) == recorded:
        return "is a Git LFS pointer to what was published: git lfs pull"
    return "is not what was published"
