# SPDX-License-Identifier: Apache-2.0
"""A live server follows its repository: what is published is rolled out, what is taken out is unloaded."""

__all__ = ["RepositoryEvent", "Watcher"]

import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from repo_client import Client
from repo_tool.errors import RepoToolError
from repo_tool.workflows.roll_out import RolledOut

EventKind = Literal["noticed", "rolled out", "unloaded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryEvent:
    """What the watcher noticed, or what came of it."""

    kind: EventKind
    model: str
    outcome: RolledOut | None = None  # of "rolled out"
    error: RepoToolError | None = None  # of "failed"
    seconds: float = 0.0  # since the change was noticed

    @property
    def words(self) -> str:
        """One line for a person, with the model's name."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a log."""
        raise NotImplementedError


class Watcher:
    """Follows a repository in a thread of its own, from ``start`` to ``stop``, or in a ``with`` block.

    A change that cannot be rolled out is told once, and tried again when the model changes again.

    Args:
        repository: what the server reads.
        connect: a client of the server that may load models; asked for each time, as a server that was started anew
            has other keys.
        on_event: is told, in the watcher's thread.
        label: points at each model's newest version once that is proven.
        models: follow these alone, and what they need.
        variant: the server's ``--model-config-name``.
        changing: is held while models are loaded and unloaded; for others who do that too.
        load_timeout_s: for Triton to come to an end with loading a model.
        abandon: ends what Triton is loading for a model's version when that takes longer.
    """

    def __init__(  # noqa: PLR0913  # what to follow and how, each by its name
        self,
        repository: Path,
        connect: Callable[[], Client],
        *,
        on_event: Callable[[RepositoryEvent], None],
        label: str | None = None,
        models: Collection[str] | None = None,
        variant: str = "",
        changing: AbstractContextManager[Any] | None = None,
        load_timeout_s: float = 60.0,
        abandon: Callable[[str, int], None] | None = None,
    ) -> None:
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Follow what changes from now on; what the repository holds at this moment counts as served."""
        raise NotImplementedError

    def stop(self) -> None:
        """Follow no more; a roll-out under way is finished, or restored."""
        raise NotImplementedError

    def changes(self) -> tuple[str, ...]:
        """The models that changed and were not rolled out yet, failed ones included."""
        raise NotImplementedError
