# SPDX-License-Identifier: Apache-2.0
"""Whether the configurations of a model say what was published: they exist, they read, and nobody has edited them."""

__all__ = ["config_problems"]

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError, RepositoryError, UnknownValueError
from repo_tool.repository.integrity import Problem
from repo_tool.repository.layout import ModelDirectory
from repo_tool.repository.provenance import read_provenance
from repo_tool.repository.stamps import without_stamps
from repo_tool.workflows.config_overrides import overridden


def config_problems(model: ModelDirectory) -> Iterator[Problem]:
    """What is wrong with ``config.pbtxt`` and with each file in ``configs/``.

    One that says what was published with any of the versions that are there is in order: which of them are loaded
    follows from labels, pipelines and roll-backs.
    """
    records = [_read(path) for path in map(model.provenance_path, model.versions()) if path.is_file()]
    if records and not model.config_path.is_file():
        yield Problem(kind="missing", path=model.config_path, words="is missing, so that no server loads the model")
    published = [facts for facts in records if facts.get("config")]
    for variant in ("", *model.variants()):
        path = model.served_config_path(variant)
        if path.is_file():
            yield from _of_one(path, list(_meanings(published, variant)))


def _read(record: Path) -> Mapping[str, Any]:
    with suppress(RepositoryError):  # a damaged provenance is a problem of its own
        return read_provenance(record)
    return {}


def _of_one(path: Path, published: list[ModelConfig]) -> Iterator[Problem]:
    try:
        found = _meaning(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        yield Problem(kind="damaged", path=path, words=f"does not read: {error}")
    except UnknownValueError:  # Triton takes it
        return
    except ConfigError as error:
        yield Problem(kind="damaged", path=path, words=f"does not read: {error.cause or error.fact}")
    else:
        differences = [_differences(found, each) for each in published]
        if differences and all(differences):
            nearest = min(differences, key=len)
            words = f"has another {' and '.join(nearest)} than was published"
            yield Problem(kind="edited", path=path, words=words)


def _meanings(published: list[Mapping[str, Any]], variant: str) -> Iterator[ModelConfig]:
    """What the file said with each version; one that was not kept with a version may say what config.pbtxt said."""
    for facts in published:
        with suppress(ConfigError):
            kept = (facts.get("configs") or {}).get(variant) if variant else None
            yield _meaning(str(kept or overridden(facts["config"], facts.get("overrides") or {})))


def _meaning(text: str) -> ModelConfig:
    """Without what follows from the versions that are loaded: the policy and the stamps."""
    return replace(without_stamps(pbtxt.parse(text)), version_policy=None)


def _differences(one: ModelConfig, other: ModelConfig) -> list[str]:
    """The names of the fields."""
    return [each.name for each in fields(ModelConfig) if getattr(one, each.name) != getattr(other, each.name)]
