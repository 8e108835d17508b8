# SPDX-License-Identifier: Apache-2.0
"""What a repository's journal tells."""

__all__ = ["History", "read_history"]

from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.near_names import did_you_mean
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The changes, oldest first, and the lines of the journal that do not read."""

    journal: Path
    entries: tuple[Entry, ...]
    faulty_lines: tuple[int, ...]


def read_history(repository: Path, model: str | None = None) -> History:
    """All changes of a repository, or of one model, which need not be there any more.

    Raises:
        RepositoryError: no such repository, or neither it nor its journal has ever had the model.
    """
    there = ModelRepository(repository)
    there.require()
    journal = Journal(there)
    every = journal.entries()
    entries = tuple(entry for entry in every if model in (None, entry.model))
    if model is not None and not entries and not there.model(model).path.is_dir():
        known = sorted({entry.model for entry in every} | {each.name for each in there.models()})
        raise RepositoryError(
            f"no model '{model}' in '{repository}', and its journal knows none",
            cause=f"it knows {', '.join(known) or 'no model'}",
            next_step=did_you_mean(model, known) or "check the name, or pass --repository",
        )
    return History(journal=journal.path, entries=entries, faulty_lines=journal.faulty_lines())
