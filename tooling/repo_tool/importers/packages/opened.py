# SPDX-License-Identifier: Apache-2.0
"""What opening a package gives, and what the packages share."""

__all__ = ["Opened", "inside", "read_yaml", "require_trust", "tidy_copy"]

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.foreign import refusing

_LARGEST_YAML = 1 << 20  # bytes
_MOST_VALUES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A request for the model itself, and what its package said of it."""

    request: ImportRequest
    code: Path | None = None  # a folder whose modules the model needs
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()  # what is loaded on a person's word only

    def followed_by(self, inner: "Opened") -> "Opened":
        """What this package and the one inside it say together."""
        return Opened(
            request=inner.request,
            code=inner.code or self.code,
            labels=inner.labels or self.labels,
            notes=(*self.notes, *inner.notes),
            trusted=(*self.trusted, *inner.trusted),
        )

    def complete(self, imported: ImportedModel) -> ImportedModel:
        """The model brought in, with what its package knew of it."""
        return replace(
            imported,
            labels=imported.labels or self.labels,
            notes=(*self.notes, *imported.notes),
            trusted=tuple(dict.fromkeys((*self.trusted, *imported.trusted))),
        )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; plain values only, no objects.

    Raises:
        SourceError: it does not read, is larger than any real one, or holds something else.
    """
    import yaml

    if path.stat().st_size > _LARGEST_YAML:
        raise SourceError(f"'{path.name}' is larger than {_LARGEST_YAML >> 20} MiB", next_step="check what it is")
    with refusing(f"'{path.name}' does not read as YAML", next_step="save the model again with the tool that wrote it"):
        text = path.read_text(encoding="utf-8")
        _refuse_merges(yaml.parse(text, Loader=yaml.SafeLoader))
        values = yaml.safe_load(text)
        _refuse_bomb(values)
    if not isinstance(values, dict):
        raise SourceError(
            f"'{path.name}' holds no mapping", next_step="save the model again with the tool that wrote it"
        )
    return values


def _refuse_merges(events: Iterable[Any]) -> None:
    """Merge keys multiply while they are read; no tool that saves models writes them."""
    if any(getattr(event, "value", None) == "<<" for event in events):
        raise ValueError("it merges mappings into others")


def _refuse_bomb(values: Any) -> None:
    """Refuse aliases of aliases, which are small until somebody prints them, and those that hold themselves."""
    waiting, seen = [values], 0
    while waiting:
        found = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {_MOST_VALUES} values")
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple | set):
            waiting.extend(found)


def inside(folder: Path, name: object) -> Path:
    """The entry of ``folder`` that its description calls ``name``.

    Raises:
        SourceError: there is none, or it lies elsewhere.
    """
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"'{folder.name}' points to '{name}', outside of itself", next_step="pack the model again, whole"
        )
    if not path.exists():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
        raise SourceError(
            f"'{folder.name}' lacks '{name}'",
            cause=f"its description names that file; there are {there}",
            next_step="copy the whole folder, or save the model again",
        )
    if not (path.is_file() or path.is_dir()):
        raise SourceError(
            f"'{name}' in '{folder.name}' is neither a file nor a folder", next_step="pack the model again, whole"
        )
    return path


def tidy_copy(path: Path, folder: Path, suffix: str) -> Path:
    """``path`` as it is when its name ends in ``suffix``, else a copy in ``folder`` that does."""
    if path.is_dir() or path.suffix == suffix:
        return path
    copy = folder / f"{path.stem}{suffix}"
    shutil.copyfile(path, copy)
    return copy


def require_trust(request: ImportRequest, what: str) -> tuple[str, ...]:
    """``what``, for the provenance, when a person said that the source's code may run.

    Raises:
        SourceError: nobody did.
    """
    if request.trusted_source:
        return (what,)
    raise SourceError(
        f"'{Path(request.source).name}' brings Python code along: {what}",
        cause="loading the model runs that code",
        next_step="read it, then pass --trust-source",
    )
