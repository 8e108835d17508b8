# SPDX-License-Identifier: Apache-2.0
"""Which importer a source belongs to. Importers enter by entry points, ours through the same door as others'."""

__all__ = ["installed_importers", "recognise"]

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from repo_tool.errors import EnvironmentUnfitError, SourceError
from repo_tool.importers.base import Importer
from repo_tool.importers.first_bytes import Kind, is_factory, kind_of
from repo_tool.importers.foreign import refusing

GROUP = "repo_tool.importers"


def installed_importers() -> dict[str, Importer]:
    """An instance of every importer, by the word for ``--framework``.

    Raises:
        EnvironmentUnfitError: two installed packages bring different importers under one word, or one does not load.
    """
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        first = entries.setdefault(entry.name, entry)
        if first.value != entry.value:
            raise EnvironmentUnfitError(
                f"two installed packages bring an importer called '{entry.name}'",
                cause=f"{first.value} and {entry.value}",
                next_step="uninstall one of them",
            )
    return {name: _loaded(entry) for name, entry in entries.items()}


def _loaded(entry: EntryPoint) -> Importer:
    next_step = "reinstall or uninstall the package that brings it"
    with refusing(f"the importer '{entry.name}' does not load", next_step=next_step, kind=EnvironmentUnfitError):
        importer: Importer = entry.load()()
    return importer


def recognise(
    source: str, framework: str | None = None, *, importers: Mapping[str, Importer] | None = None
) -> Importer:
    """The importer of ``source``, found without importing a framework or loading the file.

    Args:
        source: a path, or ``package.module:factory``.
        framework: the person's own word for it; then only what no importer could read is refused here.
        importers: those to ask; absent, all that are installed.

    Raises:
        SourceError: missing, empty, of no known kind, of several, or ``framework`` is unknown.
    """
    known = installed_importers() if importers is None else importers
    if framework is not None and framework not in known:
        raise SourceError(
            f"no importer is called '{framework}'", next_step=f"give --framework one of {', '.join(sorted(known))}"
        )
    _refuse_pipes(source)
    asked = known if framework is None else {framework: known[framework]}
    found = [importer for importer in asked.values() if importer.recognises(source)]
    named_in_python = framework is not None and is_factory(source)
    _refuse_absent_or_empty(source, recognised=bool(found) or named_in_python)
    if framework is not None:
        return asked[framework]
    if len(found) == 1:
        return found[0]
    raise _unknown(source, known) if not found else _ambiguous(source, found)


def _refuse_pipes(source: str) -> None:
    """What would be read without end, before anything reads it."""
    path = Path(source)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise SourceError(
            f"'{source}' is neither a file nor a folder",
            cause="it is a pipe, a socket or a device",
            next_step="save the model to a file",
        )


def _refuse_absent_or_empty(source: str, *, recognised: bool) -> None:
    path = Path(source)
    if not path.exists():
        if recognised:  # package.module:factory
            return
        raise SourceError(f"there is no file or folder '{source}'", next_step="check the path")
    is_empty = path.stat().st_size == 0 if path.is_file() else not any(path.iterdir())
    if is_empty:
        kind = "file" if path.is_file() else "folder"
        raise SourceError(
            f"the {kind} '{source}' is empty",
            cause="saving it was interrupted, or it was never written",
            next_step="save the model again",
        )


def _unknown(source: str, known: Mapping[str, Importer]) -> SourceError:
    path = Path(source)
    kind = kind_of(path)
    if kind is Kind.OTHER_FOLDER:
        inside = ", ".join(sorted(entry.name for entry in path.iterdir())[:5])
        cause = f"a SavedModel folder holds saved_model.pb; this one holds {inside}"
    else:
        cause = f"its name ends in '{path.suffix}' and it is {kind.value}"
    return SourceError(
        f"'{source}' is no kind of model that is known",
        cause=cause,
        next_step=f"name its framework: --framework {'|'.join(sorted(known))}",
    )


def _ambiguous(source: str, found: list[Importer]) -> SourceError:
    words = [importer.framework for importer in found]
    return SourceError(
        f"'{source}' could belong to more than one framework",
        cause=f"{' and '.join(words)} recognise it",
        next_step=f"choose one: --framework {'|'.join(words)}",
    )
