# SPDX-License-Identifier: Apache-2.0
"""Names for versions (``stable``, ``canary``, any), which Triton does not know: ``labels.json`` beside the repository.

The file is replaced at once, so whoever reads it sees the labels before a change or after it::

    {"schema": 1, "labels": {"churn": {"canary": 4, "stable": 3}}}
"""

__all__ = ["Labels", "check_label", "labels_path", "move"]

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import write_synced
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing

SCHEMA = 1
_LABEL = re.compile(r"[a-z][a-z0-9_-]*")
_LARGEST = 1 << 24  # bytes: some hundred thousand labels


def labels_path(repository: ModelRepository) -> Path:
    """Where the labels are; a repository without any has no such file."""
    return repository.private_path / "labels.json"


def check_label(label: str) -> str:
    """``label``, if it can be one; so none looks like a version's number or an option.

    Raises:
        RepositoryError: it is none.
    """
    if _LABEL.fullmatch(label):
        return label
    raise RepositoryError(
        f"{label!r} is not a label",
        cause="small letters, digits, '_' and '-' may be in it, a letter first",
        next_step="choose another one, e.g. stable or canary",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of all models of a repository, as they were when they were read; by model, then by label."""

    by_model: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, repository: ModelRepository) -> "Labels":
        """Those that there are; a label may point at a version that is gone.

        Raises:
            RepositoryError: the file is damaged, or of a newer repo-tool.
        """
        path = labels_path(repository)
        try:
            return cls(by_model=_read(path))
        except FileNotFoundError:
            return cls(by_model={})
        except (OSError, ValueError, RecursionError) as error:
            raise RepositoryError(
                f"the labels in '{path}' cannot be read",
                cause=str(error),
                next_step="move it away and set the labels again; repo-tool history tells what they were",
            ) from error

    def versions(self, model: str) -> Mapping[str, int]:
        """The version of each label of a model, by the label's name."""
        return self.by_model.get(model, {})

    def labels_of(self, model: str, version: int) -> tuple[str, ...]:
        """The labels that point at a version, by name."""
        return tuple(sorted(label for label, at in self.versions(model).items() if at == version))


def move(repository: ModelRepository, model: str, label: str, version: int | None) -> int | None:
    """Let a label point at a version, or at none any more, and tell which it pointed at before.

    Whoever reads the labels sees it at once; nothing is loaded or unloaded.

    Raises:
        RepositoryError: no such model or version, the name is no label, or the file is damaged or not to be written.
        NoSpaceError: the disk is full.
    """
    check_label(label)
    if version is not None:
        _require_version(repository.existing_model(model), version)
    with changing(repository):
        return _moved(repository, model, label, version)


def _moved(repository: ModelRepository, model: str, label: str, version: int | None) -> int | None:
    """Do it; the caller holds the lock."""
    by_model = Labels.of(repository).by_model
    there = dict(by_model.get(model, {}))
    before = there.pop(label, None)
    if version is not None:
        _require_version(repository.existing_model(model), version)
        there[label] = version
    if before != version:
        _write(repository, {**by_model, model: there})
        told = {"label": label, "before": before}
        Journal(repository).append([Entry(action="label", model=model, version=version, details=told)])
    return before


def _require_version(model: ModelDirectory, version: int) -> None:
    versions = model.versions()
    if version not in versions:
        raise RepositoryError(
            f"model '{model.name}' has no version {version}",
            cause=f"its versions are {', '.join(map(str, versions)) or 'none'}",
            next_step="name one of them",
        )


def _read(path: Path) -> dict[str, dict[str, int]]:
    with path.open("rb") as stream:
        content = json.loads(stream.read(_LARGEST))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"it is no labels.json of schema {SCHEMA}, which this repo-tool reads")
    by_model = content.get("labels")
    if not isinstance(by_model, dict) or not all(map(_is_labels, by_model.values())):
        raise ValueError("it does not tell versions by label by model")
    return by_model


def _is_labels(value: object) -> bool:
    return isinstance(value, dict) and all(type(version) is int and version > 0 for version in value.values())


def _write(repository: ModelRepository, by_model: Mapping[str, Mapping[str, int]]) -> None:
    labelled = {model: dict(sorted(labels.items())) for model, labels in sorted(by_model.items()) if labels}
    content = json.dumps({"schema": SCHEMA, "labels": labelled}, indent=2) + "\n"
    repository.private_path.mkdir(exist_ok=True)
    write_synced(labels_path(repository), content.encode())
