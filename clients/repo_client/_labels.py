# SPDX-License-Identifier: Apache-2.0
"""Labels such as ``stable``, which name a version of a model and move from one to the next. No network.

repo-tool keeps them beside the repository: those of ``models`` are in ``.models.repo-tool/labels.json``, a file that is
only ever replaced as a whole::

    {"schema": 1, "labels": {"churn": {"canary": 4, "stable": 3}}}
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from repo_client._checking import checked_version
from repo_client._errors import Facts, InputError, LabelNotFoundError
from repo_client._names import name_hint

LabelSource = str | os.PathLike[str] | Mapping[str, Mapping[str, int]] | Callable[[str, str], int | str | None]
VersionOf = Callable[[str, str], str]

_SCHEMA = 1
_PUT_HINT = "see which there are with repo-tool versions; repo-tool promote puts one on a version"


def label_reader(source: LabelSource | None) -> VersionOf:
    """What tells the version of a model that a label names at this moment.

    Raises:
        InputError: the source is nothing that holds labels.
    """
    if source is None:
        return _without_source
    if isinstance(source, str | os.PathLike):
        return LabelFile(Path(source)).version
    if isinstance(source, Mapping):
        return lambda model, label: _chosen(source.get(model, {}), model, label)
    if callable(source):
        return lambda model, label: _asked(source(model, label), model, label)
    raise InputError(
        f"labels is {source!r}",
        hint="pass the path of the repository, a mapping {model: {label: version}} or a function",
    )


class LabelFile:
    """The labels of a repository; its file is looked at in each call, and read when it was replaced.

    Args:
        path: of the repository, or of a ``labels.json``.
    """

    def __init__(self, path: Path) -> None:
        place = path.resolve()
        self._path = place if place.suffix == ".json" else place.parent / f".{place.name}.repo-tool" / "labels.json"
        # One tuple, which threads replace at once: the file that was read, and its labels by model.
        self._read: tuple[tuple[int, ...], Mapping[str, Mapping[str, int]]] = ((), {})

    def version(self, model: str, label: str) -> str:
        """The version that the label names now.

        Raises:
            LabelNotFoundError: none, or the file cannot be read.
        """
        return _chosen(self._labels(model, label).get(model, {}), model, label)

    def _labels(self, model: str, label: str) -> Mapping[str, Mapping[str, int]]:
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._read[0]:
                self._read = (seen, _parsed(self._path.read_bytes()))
        except (OSError, ValueError, RecursionError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise LabelNotFoundError(
                f"no label '{label}' of model '{model}': '{self._path}' cannot be read: {cause}",
                hint="labels= is the path of the repository; repo-tool promote writes the file beside it",
                facts=Facts(model=model),
            ) from error
        return self._read[1]


@dataclass(frozen=True, slots=True)
class VersionChoice:
    """Tells the version to ask for, each time anew; empty where that is left to the server."""

    choose: Callable[[], str]
    is_by_label: bool = False

    def __call__(self) -> str:
        """The version, as of now."""
        return self.choose()


def version_chooser(
    model: str, *, version: str | int | None, label: str | None, version_of: VersionOf
) -> VersionChoice:
    """What tells the version to ask for, each time anew; empty where that is left to the server.

    Raises:
        InputError: a version that cannot be, or both.
    """
    if label is None:
        chosen = checked_version(version)
        return VersionChoice(lambda: chosen)
    if version is not None:
        raise InputError(f"version {version} and label '{label}' of model '{model}'", hint="pass one of them")
    return VersionChoice(lambda: version_of(model, label), is_by_label=True)


def _parsed(content: bytes) -> Mapping[str, Mapping[str, int]]:
    document = json.loads(content)
    found = document.get("labels") if isinstance(document, dict) and document.get("schema") == _SCHEMA else None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise ValueError(f"it holds no labels of schema {_SCHEMA}")
    return found


def _chosen(labels: Mapping[str, int], model: str, label: str) -> str:
    version = labels.get(label)
    if version is None:
        hint = name_hint(label, labels, all_are="its labels are") if labels else _PUT_HINT
        raise LabelNotFoundError(f"model '{model}' has no label '{label}'", hint=hint, facts=Facts(model=model))
    return checked_version(version)


def _asked(version: int | str | None, model: str, label: str) -> str:
    return _chosen({} if version is None else {label: int(checked_version(version))}, model, label)


def _without_source(model: str, label: str) -> str:
    raise InputError(
        f"nobody knows the version of model '{model}' that label '{label}' names",
        hint="pass labels= to the client: the path of the repository, a mapping or a function",
        facts=Facts(model=model),
    )
