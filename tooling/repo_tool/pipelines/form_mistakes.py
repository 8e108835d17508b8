# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the form of a pipeline file, in the words of one who writes it."""

__all__ = ["form_mistakes", "no_key_twice", "unreadable"]

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml

from repo_tool.bounded_yaml import yaml_complaint
from repo_tool.errors import PipelineError

_PLAINER = (
    (re.compile(r"^Value error, "), ""),
    (re.compile(r"^Field required$"), "it is missing"),
    (re.compile(r"^Extra inputs are not permitted$"), "there is no such key"),
    (re.compile(r"^Input should be"), "it should be"),
    (re.compile(r"a valid dictionary( or instance of \w+)?"), "a mapping, `key: value`"),
    (re.compile(r"a valid (\w+)"), r"a \1"),
    (re.compile(r"^(Dictionary|List) should have at least (\d+) items? after validation, not (\d+)"), r"it is empty"),
    (re.compile(r"^String should have at least 1 character$"), "it is an empty text"),
)


def form_mistakes(error: pydantic.ValidationError) -> str:
    """Each mistake with its place."""
    return "; ".join(dict.fromkeys(f"{_place(each['loc'])}: {_plain(each['msg'])}" for each in error.errors()))


def _plain(message: str) -> str:
    for pattern, words in _PLAINER:
        message = pattern.sub(words, message)
    return message


def _place(location: Sequence[int | str]) -> str:
    """``step 3.1, with.height``: steps counted from 1 as in drawings, without pydantic's own tags."""
    numbers: list[str] = []
    rest = list(location)
    while len(rest) > 1 and rest[0] == "steps" and isinstance(rest[1], int):
        numbers.append(str(rest[1] + 1))
        rest = rest[3:]
    step = [f"step {'.'.join(numbers)}"] if numbers else []
    return ", ".join([*step, *([".".join(map(str, rest))] if rest else [])]) or "the file"


def no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for ``object_pairs_hook``.

    Raises:
        ValueError: it has a key twice, of which the last would be taken.
    """
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1] if len({*names}) < len(names) else []
    if twice:
        raise ValueError(f"'{twice[0]}' is given twice")
    return dict(pairs)


def unreadable(path: Path, error: Exception) -> PipelineError:
    """Of a file that is missing, too large, or no YAML or JSON."""
    fact = f"'{path}' cannot be read as a pipeline"
    if isinstance(error, yaml.YAMLError):
        return PipelineError(fact, cause=yaml_complaint(error, path), next_step="mend the file there")
    if isinstance(error, json.JSONDecodeError):
        place = f"{path}:{error.lineno}:{error.colno}"
        return PipelineError(fact, cause=f"{place}: {error.msg}", next_step="mend the file there")
    if isinstance(error, OSError):
        return PipelineError(
            fact, cause=error.strerror or str(error), next_step="give the path of a pipeline file that this user reads"
        )
    if isinstance(error, RecursionError):
        return PipelineError(fact, cause="too much stands inside one another", next_step="make it flatter")
    return PipelineError(
        fact,
        cause=str(error),
        next_step="mend it; labels, vocabularies and other data belong in files of their own, `{file: name}`",
    )
