# SPDX-License-Identifier: Apache-2.0
"""Whether a published version is still what was published: its files against its provenance."""

__all__ = ["Problem", "problems", "require_intact"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelDirectory
from repo_tool.repository.provenance import digest_of, digests_of, read_provenance

ProblemKind = Literal["changed", "missing", "added", "damaged", "stamp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One file of a version, or what names it, that is not as it was published."""

    kind: ProblemKind
    path: Path
    words: str  # what is wrong with it, without its path


def problems(model: ModelDirectory, version: int) -> tuple[Problem, ...]:
    """What of a version is not as published, by path; nothing for one that repo-tool did not publish."""
    record = model.provenance_path(version)
    if not record.exists():
        return ()
    try:
        recorded: Mapping[str, str] = read_provenance(record).get("files") or {}
    except RepositoryError as error:
        return (Problem(kind="damaged", path=record, words=f"does not read: {error.cause}"),)
    found = _differences(model.version_path(version), recorded) if recorded else ()
    return tuple(sorted(found, key=lambda problem: problem.path))


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


def _differences(folder: Path, recorded: Mapping[str, str]) -> Iterator[Problem]:
    found = digests_of(folder)
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
