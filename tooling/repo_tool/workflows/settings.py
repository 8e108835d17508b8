# SPDX-License-Identifier: Apache-2.0
"""What a project has decided for ``repo-tool validate``: a section of repo-tool.yaml or pyproject.toml."""

__all__ = ["ValidateSettings", "read_common_settings", "read_settings"]

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from repo_tool.errors import RepoToolError, UserMistakeError
from repo_tool.near_names import did_you_mean
from repo_tool.releases import release as find_release
from repo_tool.rules import select_rules

_SHOWN_LETTERS = 80


def _key(name: str) -> Mapping[str, str]:
    return {"key": name}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateSettings:
    """Which rules count, for which releases; ``model_ignores`` names codes by a pattern of model names."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    releases: tuple[str, ...] = field(default=(), metadata=_key("release"))
    strict: bool = False
    model_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict, metadata=_key("per-model-ignores"))
    file: Path | None = field(default=None, metadata=_key(""))  # where they come from

    def overridden(
        self,
        *,
        select: Sequence[str] | None = None,
        ignore: Sequence[str] | None = None,
        releases: Sequence[str] | None = None,
        strict: bool | None = None,
    ) -> "ValidateSettings":
        """With what was said on the command line in place of what stands here; None and nothing leave it."""
        return replace(
            self,
            select=tuple(select or self.select),
            ignore=tuple(ignore or self.ignore),
            releases=tuple(releases or self.releases),
            strict=self.strict if strict is None else strict,
        )


_FIELDS = {each.metadata.get("key", each.name): each.name for each in fields(ValidateSettings) if each.name != "file"}


def read_settings(repository: Path) -> ValidateSettings:
    """The settings nearest to ``repository``: in it, beside it, or above it up to the work tree's root.

    In each folder ``validate:`` of repo-tool.yaml and ``[tool.repo-tool.validate]`` of pyproject.toml are looked for.

    Raises:
        UserMistakeError: a file cannot be read, has both sections, or a section says what cannot be.
    """
    for folder in _folders(repository):
        found = [(path, section) for path, section in _sections(folder) if section is not None]
        if len(found) > 1:
            raise UserMistakeError(
                f"settings for validate are in two files of '{folder}'",
                cause=f"both {found[0][0].name} and {found[1][0].name} have them",
                next_step="keep one of them",
            )
        if found:
            return _settings(*found[0])
    return ValidateSettings()


def read_common_settings(repositories: Sequence[Path]) -> ValidateSettings:
    """The settings of repositories that are checked together: those of one file, or none.

    Raises:
        UserMistakeError: there are several such files, or one says what cannot be.
    """
    found = {settings.file: settings for settings in map(read_settings, repositories) if settings.file is not None}
    if len(found) > 1:
        raise UserMistakeError(
            "the repositories have different settings for validate",
            cause=f"they are in {' and '.join(f'{str(file)!r}' for file in found)}",
            next_step="keep one of them in a folder above all of the repositories, or check each by itself",
        )
    return next(iter(found.values()), ValidateSettings())


def _folders(repository: Path) -> Iterator[Path]:
    start = Path(os.path.abspath(repository))  # noqa: PTH100  # a link's own surroundings, not its target's
    for folder in (start, *start.parents):
        yield folder
        if (folder / ".git").exists():
            return


def _sections(folder: Path) -> Iterator[tuple[Path, Any]]:
    path = folder / "repo-tool.yaml"
    if path.is_file():
        content = _yaml(path)
        yield path, content.get("validate") if isinstance(content, dict) else None
    path = folder / "pyproject.toml"
    if path.is_file():
        yield path, _table(_toml(path), "tool", "repo-tool", "validate")


def _yaml(path: Path) -> Any:
    from repo_tool.workflows.plan_yaml import read_yaml

    return read_yaml(path).value


def _toml(path: Path) -> Any:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # text that is no TOML, or no UTF-8
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserMistakeError:
    return UserMistakeError(f"'{path}' cannot be read", cause=str(error), next_step="mend the file")


def _table(content: Any, *names: str) -> Any:
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _settings(path: Path, section: Any) -> ValidateSettings:
    if not isinstance(section, dict):
        raise _mistake(path, "the section validate is no table", f"it holds {_shown(section)}")
    values: dict[str, Any] = {}
    for key, value in section.items():
        if key not in _FIELDS:
            raise _mistake(
                path,
                f"there is no setting {_shown(key)}",
                f"there are {', '.join(_FIELDS)}",
                did_you_mean(str(key), _FIELDS),
            )
        values[_FIELDS[key]] = _value(path, key, value)
    settings = ValidateSettings(**values, file=path)
    _check(path, settings)
    return settings


def _value(path: Path, key: str, value: Any) -> Any:
    if key == "strict":
        if not isinstance(value, bool):
            raise _mistake(path, "strict is neither true nor false", f"it is {_shown(value)}")
        return value
    if key == "per-model-ignores":
        if not isinstance(value, dict):
            raise _mistake(path, f"{key} is no table", 'write "model or pattern": [CODE, …]')
        return {str(pattern): _words(path, f"{key}.{pattern}", codes) for pattern, codes in value.items()}
    return _words(path, key, value)


def _words(path: Path, key: str, value: Any) -> tuple[str, ...]:
    """One word or a list of them; YAML reads an unquoted release as a number and drops its last zero."""
    words = value if isinstance(value, list) else [value]
    for word in words:
        if not isinstance(word, str):
            quoted = "write it in quotes" if isinstance(word, float) else ""
            raise _mistake(path, f"{_short(key)} has {_shown(word)}, which is no text", "it takes texts", quoted)
    return tuple(words)


def _shown(value: Any) -> str:
    """A value that may be of any size, in a few words."""
    from repo_tool.workflows.plan_yaml import WrittenFloat

    if isinstance(value, WrittenFloat):
        return value.written
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return repr(_short(value))


def _short(value: Any) -> Any:
    return f"{value[:_SHOWN_LETTERS]}…" if isinstance(value, str) and len(value) > _SHOWN_LETTERS else value


def _check(path: Path, settings: ValidateSettings) -> None:
    try:
        select_rules(settings.select, settings.ignore)
        for codes in settings.model_ignores.values():
            select_rules(codes)
        for name in settings.releases:
            find_release(name)
    except RepoToolError as error:
        raise _mistake(path, error.fact, error.cause, error.next_step) from error


def _mistake(path: Path, fact: str, cause: str, next_step: str = "") -> UserMistakeError:
    return UserMistakeError(f"'{path}', section validate: {fact}", cause=cause, next_step=next_step)
