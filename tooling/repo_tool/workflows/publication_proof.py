# SPDX-License-Identifier: Apache-2.0
"""Whether what a server has loaded is what was published, found out while it serves."""

__all__ = ["AlteredVersion", "PublicationProof"]

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from repo_tool.errors import RepoToolError
from repo_tool.repository.integrity import Problem, problems
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton import EmbeddedServer, LoadOutcome

_LEAST_URGENT = 19  # nice(2): the server's requests come first


@dataclass(frozen=True, slots=True, kw_only=True)
class AlteredVersion:
    """A version that is served, and that is not as it was published."""

    model: str
    version: int
    problems: tuple[Problem, ...]

    @property
    def words(self) -> str:
        """One line for people."""
        first, more = self.problems[0], len(self.problems) - 1
        told = f"'{first.path}' {first.words}" + (f", and {more} more" if more else "")
        return f"{self.model} version {self.version}: is served and is not as it was published: {told}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for logs that machines read."""
        return {
            "event": "not as published",
            "is_bad": True,
            "model": self.model,
            "version": str(self.version),
            "problems": [{"path": str(each.path), "words": each.words} for each in self.problems],
        }


class PublicationProof:
    """Computes the digests of the versions that are served, once for each time that they are loaded.

    It does so in a thread of its own between the others. ``on_event`` is told of those that differ from their
    provenance, or whose provenance differs from the stamp.
    """

    def __init__(self, server: EmbeddedServer, *, on_event: Callable[[AlteredVersion], None]) -> None:
        self._server, self._tell = server, on_event
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()  # False: there will be no more
        self._stopping = threading.Event()
        self._seen: set[tuple[str, int]] = set()
        self._thread = threading.Thread(target=self._run, name="publication-proof", daemon=True)

    def start(self) -> None:
        """Look at what is served now, and at each model that is loaded later and told to ``is_due``."""
        self._due.put(True)
        self._thread.start()

    def stop(self) -> None:
        """Look no further; what is being read may end with the process."""
        self._stopping.set()
        self._due.put(False)

    def again(self, model: str = "") -> None:
        """Look at what is served of a model, or of all, as at nothing before: it was read from the disk once more."""
        self._seen = {each for each in self._seen if model and each[0] != model}
        self._due.put(True)

    def is_due(self, outcome: LoadOutcome) -> None:
        """A model was loaded, or refused."""
        if outcome.is_ready:
            self._due.put(True)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_URGENT)
        while self._due.get() and not self._stopping.is_set():
            with suppress(RepoToolError, OSError):  # the server ends, or a model is just being exchanged
                self._look()

    def _look(self) -> None:
        for name, served in self._server.served().items():
            for version in map(int, served.versions):
                if self._stopping.is_set():
                    return
                if (name, version) not in self._seen:
                    self._seen.add((name, version))
                    self._look_at(name, version)

    def _look_at(self, name: str, version: int) -> None:
        model = ModelRepository(self._server.repository).model(name)
        found = problems(model, version)
        if found and found == problems(model, version):  # not of a model that was exchanged meanwhile
            self._tell(AlteredVersion(model=name, version=version, problems=found))
