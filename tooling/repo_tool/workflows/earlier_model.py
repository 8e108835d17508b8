# SPDX-License-Identifier: Apache-2.0
"""The configurations with which another version of a model that is no pipeline answers."""

__all__ = ["published_texts", "served_by_any", "with_versions", "written_configs"]

import re
from collections.abc import Iterable

from repo_tool.config import pbtxt
from repo_tool.config.edit import set_field
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelDirectory
from repo_tool.workflows.config_overrides import interface_digest, overridden
from repo_tool.workflows.show_model import ModelRecord

_NEWEST_ALONE = re.compile(r"^# Only the newest versions? [^\n]*\n(?=version_policy\b)", re.MULTILINE)  # as rendered
_CHOSEN = "# A roll-back, a label or a pipeline asks for just these versions; others stay on disk.\n"


def written_configs(model: ModelDirectory) -> dict[str, str]:
    """The texts of ``config.pbtxt``, by the name "", and of each file in ``configs/``."""
    names = ("", *model.variants())
    return {name: model.served_config_path(name).read_text(encoding="utf-8") for name in names}


def served_by_any(model: ModelDirectory) -> tuple[int, ...]:
    """The versions that ``config.pbtxt`` or one of ``configs/`` lets Triton load, ascending.

    Raises:
        ConfigError: one of them does not parse.
    """
    there = model.versions()
    policies = (model.read_config(name).version_policy for name in ("", *model.variants()))
    return tuple(sorted({version for policy in policies for version in served_versions(policy, there)}))


def published_texts(record: ModelRecord) -> dict[str, str]:
    """What the configurations said when the version was published, for each file that there is now.

    A file in ``configs/`` that was not kept with the version stays as it is, if it takes and gives the same, and says
    what ``config.pbtxt`` says else.

    Raises:
        RepositoryError: ``config.pbtxt`` was not kept with the version.
    """
    facts, there = record.facts, written_configs(record.directory)
    if not facts.get("config"):
        raise _not_kept(record, "its provenance holds none")
    kept: dict[str, str] = facts.get("configs") or {}
    try:
        text = overridden(str(facts["config"]), facts.get("overrides") or {})
        return {name: _text(name, text, kept=kept, now=now) for name, now in there.items()}
    except ConfigError as error:
        raise _not_kept(record, error.fact) from error


def _not_kept(record: ModelRecord, cause: str) -> RepositoryError:
    return RepositoryError(
        f"the configuration of version {record.version} of '{record.directory.name}' was not kept",
        cause=cause,
        next_step="add that model again: repo-tool add-model",
    )


def _text(name: str, published: str, *, kept: dict[str, str], now: str) -> str:
    if not name:
        return published
    if name in kept:
        return str(kept[name])
    return now if interface_digest(pbtxt.parse(now)) == interface_digest(pbtxt.parse(published)) else published


def with_versions(text: str, versions: Iterable[int], *, there: tuple[int, ...]) -> str:
    """The text of a configuration that loads these versions of those that are ``there``, the rest as it is written.

    Raises:
        ConfigError: it does not parse.
    """
    wanted = tuple(sorted(set(versions)))
    if served_versions(pbtxt.parse(text).version_policy, there) == wanted:
        return text
    text = _NEWEST_ALONE.sub(_CHOSEN, text)
    return set_field(text, "version_policy", f"{{ specific {{ versions: [{', '.join(map(str, wanted))}] }} }}")
