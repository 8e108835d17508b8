# SPDX-License-Identifier: Apache-2.0
"""Estimators that take their rows for names of files: harmless to load, and then a server reads what clients name."""

__all__ = ["refuse_file_readers"]

from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers.guards.contents import everything_in

_VECTORIZERS = "sklearn.feature_extraction.text"
_FILES = ("filename", "file")  # what their parameter ``input`` may be, besides content


def refuse_file_readers(path: Path, estimator: Any) -> None:
    """Refuse a vectorizer that opens files, wherever in the estimator it is.

    Raises:
        SourceError: there is one.
    """
    for found in everything_in(estimator):
        if _is_vectorizer(found) and _input_of(found) in _FILES:
            raise SourceError(
                f"'{path.name}' holds a {type(found).__name__} that reads files",
                cause=f"its input is '{found.input}': whoever may ask the server could have it open any file",
                next_step="fit it with input='content' and send the texts themselves",
            )


def _is_vectorizer(value: Any) -> bool:
    return any(base.__module__ == _VECTORIZERS for base in type(value).__mro__)


def _input_of(value: Any) -> str:
    chosen = getattr(value, "input", None)
    return chosen if isinstance(chosen, str) else ""
