# SPDX-License-Identifier: Apache-2.0
"""Names for versions (``stable``, ``canary``, any), which Triton does not know: ``labels.json`` beside the repository.

The file is replaced at once, so whoever reads it sees the labels before a change or after it::

    {"schema": 1, "labels": {"churn": {"canary": 4, "stable": 3}}}
"""

__all__ = ["LABELS_FILE", "Labels", "LabelsChange", "check_label", "labels_path", "move"]

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import ModelNameError, RepositoryError
from repo_tool.repository.disk import sync
from repo_tool.repository.journal import Entry
from repo_tool.repository.layout import ModelDirectory, ModelRepository, check_model_name
from repo_tool.repository.locks import changing
from repo_tool.repository.moves import Change, Write, make
from repo_tool.repository.provenance import digest_of_bytes
from repo_tool.repository.staging import staging

LABELS_FILE = "labels.json"
SCHEMA = 1
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VERSIONS = range(1, 1 << 63)  # what Triton can count
_LARGEST = 1 << 24  # bytes: some hundred thousand labels


def labels_path(repository: ModelRepository) -> Path:
    """Where the labels are; a repository without any has no such file."""
    return repository.private_path / LABELS_FILE


def check_label(label: str) -> str:
    """``label``, if it can be one; so none looks like a version's number or an option.

    Raises:
        RepositoryError: it is none.
    """
    if _LABEL.fullmatch(label):
        return label
    raise RepositoryError(
        f"{label!r} is not a label",
        cause="small letters, digits, '_' and '-' may be in it, a letter first, 64 at most",
        next_step="choose another one, e.g. stable or canary",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of all models of a repository, as they were when they were read; by model, then by label."""

    by_model: Mapping[str, Mapping[str, int]]
    text: str = ""  # of the file; empty: there is none

    @classmethod
    def of(cls, repository: ModelRepository) -> "Labels":
        """Those that there are; a label may point at a version that is gone.

        Raises:
            RepositoryError: the file is damaged, or of a newer repo-tool.
        """
        path = labels_path(repository)
        try:
            text = _text_of(path)
            return cls(by_model=_read(text), text=text)
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

    def require_unchanged(self, repository: ModelRepository, model: str) -> None:
        """See that no label of a model has moved since.

        Raises:
            RepositoryError: one did, or they do not read any more.
        """
        if Labels.of(repository).versions(model) != self.versions(model):
            raise RepositoryError(
                f"the labels of '{model}' in '{repository.path}' have been changed meanwhile",
                cause="they are not what was read when the command began",
                next_step="run the command again",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsChange:
    """Labels of one model that move together; at None they point at nothing any more."""

    model: str
    versions: Mapping[str, int | None]  # by label

    def text(self, labels: Labels) -> str:
        """What the file says then."""
        there = {**labels.versions(self.model), **self.versions}
        kept = {label: version for label, version in sorted(there.items()) if version is not None}
        by_model = {**labels.by_model, self.model: kept}
        labelled = {model: dict(at) for model, at in sorted(by_model.items()) if at}
        return json.dumps({"schema": SCHEMA, "labels": labelled}, indent=2) + "\n"

    def texts(self, repository: ModelRepository) -> dict[str, tuple[str, str]]:
        """What the file says now and what it is to say, by its name; the publishing lock is held."""
        labels = Labels.of(repository)
        return {LABELS_FILE: (labels.text, self.text(labels))} if self.versions else {}

    def entries(self, labels: Labels) -> tuple[Entry, ...]:
        """What the journal tells of it."""
        before = labels.versions(self.model)
        return tuple(
            Entry(action="label", model=self.model, version=to, details={"label": label, "before": before.get(label)})
            for label, to in self.versions.items()
            if before.get(label) != to
        )


def move(repository: ModelRepository, model: str, label: str, version: int | None) -> int | None:
    """Let a label point at a version, or at none any more, and tell which it pointed at before.

    Whoever reads the labels sees it at once, and the journal tells of it; nothing is loaded or unloaded.

    Raises:
        RepositoryError: no such model or version, the name is no label, or the file is damaged or not to be written.
        NoSpaceError: the disk is full.
    """
    check_label(label)
    with staging(repository) as stage, changing(repository):
        if version is not None:
            _require_version(repository.existing_model(model), version)
        labels = Labels.of(repository)
        change = LabelsChange(model=model, versions={label: version})
        entries = change.entries(labels)
        if entries:
            write = _drafted(labels.text, change.text(labels), stage.work_path)
            make(Change(writes=(write,), entries=entries), stage.path, repository)
    return labels.versions(model).get(label)


def _drafted(old: str, new: str, room: Path) -> Write:
    """What is to be written, with its drafts on the disk in ``room``."""
    for name, text in (("labels.new", new), ("labels.old", old)):
        (room / name).write_text(text, encoding="utf-8")
        sync(room / name)
    seen, kept = (digest_of_bytes(old.encode()), "labels.old") if old else ("", "")
    return Write(path=LABELS_FILE, is_beside=True, seen=seen, new="labels.new", old=kept)


def _require_version(model: ModelDirectory, version: int) -> None:
    versions = model.versions()
    if version not in versions:
        raise RepositoryError(
            f"model '{model.name}' has no version {version}",
            cause=f"its versions are {', '.join(map(str, versions)) or 'none'}",
            next_step="name one of them",
        )


def _text_of(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_LARGEST).decode()


def _read(text: str) -> dict[str, dict[str, int]]:
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"it is no {LABELS_FILE} of schema {SCHEMA}, which this repo-tool reads")
    by_model = content.get("labels")
    if not isinstance(by_model, dict) or not all(map(_is_labels, by_model.values())):
        raise ValueError("it does not tell versions by label by model")
    try:
        for model in by_model:
            check_model_name(model)
    except ModelNameError as error:
        raise ValueError(error.fact) from error
    return by_model


def _is_labels(value: object) -> bool:
    return isinstance(value, dict) and all(
        _LABEL.fullmatch(label) and type(version) is int and version in _VERSIONS for label, version in value.items()
    )
