# SPDX-License-Identifier: Apache-2.0
"""Estimators that take their rows for names of files: harmless to load, and then a server reads what clients name."""

__all__ = ["refuse_file_readers"]

from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError

_VECTORIZERS = "sklearn.feature_extraction.text"
_FILES = ("filename", "file")  # what their parameter ``input`` may be, besides content


def refuse_file_readers(path: Path, estimator: Any) -> None:
    """Refuse a vectorizer that opens files, wherever in the estimator it is.

    Raises:
        SourceError: there is one.
    """
    waiting, seen = [estimator], set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if type(found).__module__ == _VECTORIZERS and getattr(found, "input", None) in _FILES:
            raise SourceError(
                f"'{path.name}' holds a {type(found).__name__} that reads files",
                cause=f"its input is '{found.input}': whoever may ask the server could have it open any file",
                next_step="fit it with input='content' and send the texts themselves",
            )
        waiting.extend(_inside(found))


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    return (
        list(vars(value).values())
        if type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__")
        else []
    )
