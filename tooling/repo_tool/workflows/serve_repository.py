# SPDX-License-Identifier: Apache-2.0
"""A repository served until somebody ends it: the server, its supervisor, the watcher of the repository, its log."""

__all__ = ["RepositoryService", "ServeRequest", "ServiceEvent"]

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from repo_tool.errors import ServerStartError
from repo_tool.triton import EmbeddedServer, LoadOutcome, ServerOptions, Supervisor
from repo_tool.triton.log import LogLine, ServerLog

if TYPE_CHECKING:
    from repo_tool.workflows.watch_repository import Watcher

_PATIENCE_S = 30.0  # a model that is still loading then is named, and the others are served meanwhile
_LAST_ROLL_OUT_S = 5.0  # for one under way when the service ends; the server may end under it after that


class ServiceEvent(Protocol):
    """What happens to the server, or comes of a change in the repository."""

    @property
    def words(self) -> str:
        """One line for people."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for logs that machines read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """What to serve and how."""

    repository: Path
    options: ServerOptions = field(default_factory=ServerOptions)
    models: tuple[str, ...] | None = None  # and what they call; None: all
    follow: bool = False  # roll out what is published while the server runs
    label: str | None = None  # points at what has been rolled out
    # A model that for so long neither answers what waits for it nor computes is loaded again; None: it may.
    hang_after_s: float | None = 60.0


class RepositoryService:
    """Everything that runs beside the server starts and ends with the block, in the right order.

    ``on_event`` is called from several threads, by one at a time.
    """

    def __init__(self, request: ServeRequest, *, on_event: Callable[[ServiceEvent], None]) -> None:
        self.server = EmbeddedServer(request.repository, request.options)
        self._request, self._tell_one = request, on_event
        self._telling = threading.Lock()
        self._supervisor: Supervisor | None = None
        self._watcher: Watcher | None = None
        self._log: ServerLog | None = None
        self._log_end = 0
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.server)
            self._supervisor = starting.enter_context(
                Supervisor(self.server, on_event=self._tell, hang_after_s=self._request.hang_after_s)
            )
            if self._request.follow:
                self._watcher = self._watcher_of(self._supervisor)
                starting.callback(_stop_within, self._watcher.stop, _LAST_ROLL_OUT_S)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def load(self, *, on_outcome: Callable[[LoadOutcome], None]) -> list[LoadOutcome]:
        """Load what was asked for, as ``EmbeddedServer.load_all`` does, and follow the repository from then on."""
        models = list(self._request.models) if self._request.models is not None else None
        outcomes = self.server.load_all(models, on_outcome=on_outcome, patience_s=_PATIENCE_S)
        if self._watcher is not None:
            self._watcher.start()
        return outcomes

    def raise_if_ended(self) -> None:
        """Say why the server serves no more.

        Raises:
            ServerStartError: it ended again and again, or could not be started again.
        """
        if self._supervisor is not None:
            self._supervisor.raise_if_given_up()

    def skip_log(self) -> None:
        """Leave out what the log tells until now."""
        for _ in self.log_lines():
            pass

    def log_lines(self) -> Iterator[LogLine]:
        """What was logged since it was last asked for, also by a server that was started anew meanwhile."""
        try:
            log = self.server.log
        except ServerStartError:  # between two servers
            return
        if log is not self._log:
            self._log, self._log_end = log, 0
        for self._log_end, line in log.lines_with_end(self._log_end):  # noqa: B020 # where we are is what we keep
            yield line

    def _watcher_of(self, supervisor: Supervisor) -> "Watcher":
        """Made before the models are loaded: what changes from now on is news to it."""
        from repo_tool.workflows.own_server import OwnServer  # these need a client library, which takes its time
        from repo_tool.workflows.watch_repository import Watcher

        own = OwnServer(self.server)
        return Watcher(
            self._request.repository,
            own.connect,
            on_event=self._tell,
            label=self._request.label,
            models=self._request.models,
            variant=self._request.options.model_config_name,
            changing=supervisor.changing,
            abandon=supervisor.abandon,
            explain=own.explain,
        )

    def _tell(self, event: ServiceEvent) -> None:
        with self._telling:
            self._tell_one(event)


def _stop_within(stop: Callable[[], None], seconds: float) -> None:
    stopping = threading.Thread(target=stop, name="last-roll-out", daemon=True)
    stopping.start()
    stopping.join(seconds)
