# SPDX-License-Identifier: Apache-2.0
"""What a change of configurations means: two files, two models or two whole repositories side by side."""

__all__ = ["Difference", "ModelDifference", "diff"]

import posixpath
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.config.changes import Change, Effect
from repo_tool.config.compare import compare
from repo_tool.config.contract import Labels
from repo_tool.config.model import ModelConfig
from repo_tool.config.pbtxt import parse
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.revisions import at_revision, labels_elsewhere, names_a_revision
from repo_tool.repository.stamps import without_stamps

_LARGEST_LABEL_FILE = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """What differs of one configuration; ``name`` is the model's, with the variant where it is not config.pbtxt."""

    name: str
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {"name": self.name, "changes": [change.to_dict() for change in self.changes]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs, model by model; those that are alike are only counted."""

    models: tuple[ModelDifference, ...]
    compared: int

    @property
    def counts(self) -> Mapping[Effect, int]:
        """How many changes of each effect there are."""
        found = Counter(change.effect for model in self.models for change in model.changes)
        return {effect: found[effect] for effect in Effect}

    @property
    def is_breaking(self) -> bool:
        """Whether a client that worked may stop working."""
        return self.counts[Effect.BREAKING] > 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "is_breaking": self.is_breaking,
            "counts": {effect.value: count for effect, count in self.counts.items()},
            "compared": self.compared,
            "models": [model.to_dict() for model in self.models],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A configuration and the words of its label files."""

    config: ModelConfig
    labels: Labels


_Model = Mapping[str, _Served]  # by variant; "" is config.pbtxt
_Side = dict[str, _Model]


def diff(old: str, new: str) -> Difference:
    """Compare two of a kind: ``config.pbtxt`` files, model directories or repositories, or ``REVISION:PATH`` of one.

    Raises:
        RepositoryError: one is not there, or they are of different kinds.
        ConfigError: a configuration does not parse.
    """
    with ExitStack() as stack:
        before, after = (
            stack.enter_context(at_revision(operand)) if names_a_revision(operand) else Path(operand)
            for operand in (old, new)
        )
        kinds = [_kind(path, operand) for path, operand in ((before, old), (after, new))]
        if kinds[0] != kinds[1]:
            raise RepositoryError(
                f"'{old}' is a {kinds[0]} and '{new}' a {kinds[1]}",
                cause="only two of a kind can be compared",
                next_step="give two config.pbtxt files, two model directories or two repositories",
            )
        if kinds[0] == "repository":
            sides = _read_repository(before), _read_repository(after)
            if not any(sides):
                raise RepositoryError(
                    f"neither '{old}' nor '{new}' holds a model",
                    cause="no sub-folder has a config.pbtxt",
                    next_step="give the folders whose sub-folders are the models",
                )
            return _diff_sides(*sides)
        name = _called(_directory(after) if after.is_file() else after)
        return _diff_sides({name: _read_model(before)}, {name: _read_model(after)})


def _kind(path: Path, operand: str) -> str:
    with suppress(OSError):  # a name that no file can have, or a folder that this user may not enter
        if path.is_file():
            return "configuration"
        if (path / "config.pbtxt").is_file():
            return "model directory"
        if path.is_dir():
            return "repository"
    raise RepositoryError(
        f"there is no '{operand}'",
        cause="it is neither a config.pbtxt nor a folder",
        next_step="give a path, or REVISION:PATH in a Git working tree",
    )


def _read_repository(path: Path) -> _Side:
    directories = [model for model in ModelRepository(path).models() if not model.name.startswith(".")]
    return {model.name: _read_model(model.path) for model in directories if model.config_path.is_file()}


def _read_model(path: Path) -> _Model:
    """The configurations of a model directory, or the one of a file."""
    if path.is_file():
        served = _read(path, _directory(path))
        # A file may be a draft that lies alone: only the label files that are there are compared.
        there = {name: lines for name, lines in served.labels.items() if lines is not None}
        return {"": replace(served, labels=there)}
    directory = ModelDirectory(path)
    variants = {variant: _read(directory.variant_path(variant), path) for variant in directory.variants()}
    return {"": _read(directory.config_path, path), **variants}


def _read(path: Path, directory: Path) -> _Served:
    try:
        config = without_stamps(parse(path.read_text(encoding="utf-8")))
        labels = _labels(config, directory)
    except ConfigError as error:
        raise ConfigError(f"'{path}': {error.fact}", cause=error.cause, next_step=error.next_step) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' or its labels cannot be read", cause=str(error)) from error
    return _Served(config=replace(config, name=config.name or _called(directory)), labels=labels)


def _labels(config: ModelConfig, directory: Path) -> Labels:
    """The lines of each label file; None where it is not there.

    Raises:
        RepositoryError: one lies outside of the model directory.
        ConfigError: one is too large to be labels.
    """
    found: dict[str, tuple[str, ...] | None] = {}
    for name in {tensor.label_filename for tensor in config.outputs if tensor.label_filename}:
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise labels_elsewhere(path)
        if path.is_file() and path.stat().st_size > _LARGEST_LABEL_FILE:
            raise ConfigError(f"the labels '{name}' are too large", cause=f"more than {_LARGEST_LABEL_FILE:,} bytes")
        there = path.is_file()
        found[name] = tuple(path.read_text(encoding="utf-8", errors="replace").splitlines()) if there else None
    return found


def _directory(config_path: Path) -> Path:
    """The model directory that a configuration lies in, as ``config.pbtxt`` or as a variant."""
    folder = config_path.absolute().parent
    return folder.parent if folder.name == "configs" else folder


def _called(directory: Path) -> str:
    """The name of a model directory, by whatever way it was given."""
    return posixpath.basename(posixpath.normpath(directory.absolute()))


def _diff_sides(old: _Side, new: _Side) -> Difference:
    found: list[ModelDifference] = []
    for name in sorted({*old, *new}):
        if name not in new:
            gone = Change(effect=Effect.BREAKING, path="", words="the model is gone", before="present")
            found.append(ModelDifference(name=name, changes=(gone,)))
        elif name not in old:
            added = Change(effect=Effect.COMPATIBLE, path="", words="the model is new", after="present")
            found.append(ModelDifference(name=name, changes=(added,)))
        else:
            found.extend(_diff_models(name, old[name], new[name]))
    return Difference(models=tuple(found), compared=len({*old, *new}))


def _diff_models(name: str, old: _Model, new: _Model) -> list[ModelDifference]:
    """Each variant against its like; a server reads config.pbtxt where a model lacks the variant."""
    found: list[ModelDifference] = []
    for variant in sorted({*old, *new}):
        before, after = old.get(variant, old[""]), new.get(variant, new[""])
        changes = compare(before.config, after.config, old_labels=before.labels, new_labels=after.labels)
        if changes:
            found.append(
                ModelDifference(name=f"{name} (configs/{variant}.pbtxt)" if variant else name, changes=changes)
            )
    return found
