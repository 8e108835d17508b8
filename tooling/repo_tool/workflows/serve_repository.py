# SPDX-License-Identifier: Apache-2.0
"""A repository served until somebody ends it: the server, its supervisor, the watcher of the repository, its log."""

__all__ = ["RepositoryService", "ServeRequest", "ServiceEvent", "ServiceStarted"]

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from repo_tool.errors import ServerStartError, ServerUnreachableError
from repo_tool.triton import EmbeddedServer, LoadOutcome, ServerOptions, Supervisor
from repo_tool.triton.events import EventKind, ServerEvent
from repo_tool.triton.log import LogLine, ServerLog
from repo_tool.workflows.publication_proof import PublicationProof

if TYPE_CHECKING:
    from repo_client import Client
    from repo_tool.workflows.watch_repository import RepositoryEvent, Watcher

_PATIENCE_S = 30.0  # a model that is still loading then is named, and the others are served meanwhile
_LAST_CHANGE_S = 5.0  # for a load or a roll-out under way when the service ends; the server ends under it after that
_LAST_CHANGE_SHARE = 0.25  # of the grace at most, so that time is left for requests in flight


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted:
    """The server answers; its models are loaded from now on."""

    repository: Path
    http: str
    grpc: str
    metrics: str
    is_followed: bool
    label: str | None

    @property
    def words(self) -> str:
        """One line for people."""
        follows = ", and follows it" if self.is_followed else ""
        moves = f"; '{self.label}' goes to what is proven" if self.label else ""
        return f"serves {self.repository} at http://{self.http} and grpc://{self.grpc}{follows}{moves}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for logs that machines read."""
        return {
            "event": "started",
            "repository": str(self.repository),
            "http": self.http,
            "grpc": self.grpc,
            "metrics": self.metrics,
            "watch": self.is_followed,
            "label": self.label,
        }


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
        self._proof = PublicationProof(self.server, on_event=self._tell)
        self._log: ServerLog | None = None
        self._log_end = 0

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.server)
            hang_after_s = self._request.hang_after_s
            self._supervisor = Supervisor(self.server, on_event=self._supervised, hang_after_s=hang_after_s)
            starting.enter_context(self._supervisor)
            if self._request.follow:
                self._watcher = self._watcher_of(self._supervisor)
            self._tell(self.started)
            starting.pop_all()  # from now on it ends as a whole
        return self

    @property
    def started(self) -> ServiceStarted:
        """What is served, and where."""
        return ServiceStarted(
            repository=self._request.repository.absolute(),
            http=self.server.http_url,
            grpc=self.server.grpc_url,
            metrics=self.server.metrics_url,
            is_followed=self._request.follow,
            label=self._request.label,
        )

    def __exit__(self, *_: object) -> None:
        """End it all within the grace, from now; at once where that is interrupted."""
        grace_s = self.server.options.graceful_stop_s
        deadline = time.monotonic() + grace_s
        try:
            self.server.say_not_ready()
            self._stop_changing(patience_s=min(_LAST_CHANGE_S, _LAST_CHANGE_SHARE * grace_s))
            self.server.stop(grace_s=max(0.0, deadline - time.monotonic()))
        except BaseException:
            self.server.stop(grace_s=0)
            raise

    def load(self, *, on_outcome: Callable[[LoadOutcome], None]) -> list[LoadOutcome]:
        """Load what was asked for, as ``EmbeddedServer.load_all`` does, and follow the repository from then on.

        Served versions that are not as they were published are told as events, once that was computed.
        """

        def told(outcome: LoadOutcome) -> None:
            on_outcome(outcome)
            self._proof.is_due(outcome)

        models = list(self._request.models) if self._request.models is not None else None
        outcomes = self.server.load_all(models, on_outcome=told, patience_s=_PATIENCE_S)
        self._proof.start()
        if self._watcher is not None:
            self._watcher.start()
        return outcomes

    def _stop_changing(self, *, patience_s: float) -> None:
        """Load and unload nothing more; what is under way may come to its end meanwhile."""
        deadline = time.monotonic() + patience_s
        self._proof.stop()
        if self._watcher is not None:
            self._watcher.stop(patience_s=patience_s)
        if self._supervisor is not None:
            self._supervisor.stop(patience_s=max(0.0, deadline - time.monotonic()))

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
        log.forget_old()

    def _watcher_of(self, supervisor: Supervisor) -> "Watcher":
        """Made before the models are loaded: what changes from now on is news to it."""
        from repo_tool.workflows.own_server import OwnServer  # these need a client library, which takes its time
        from repo_tool.workflows.watch_repository import Watcher

        own = OwnServer(self.server)

        def connect() -> "Client":
            if not supervisor.is_whole:
                raise ServerUnreachableError("the server is brought back just now", next_step="wait until it is")
            return own.connect()

        return Watcher(
            self._request.repository,
            connect,
            on_event=partial(self._followed, supervisor),
            label=self._request.label,
            models=self._request.models,
            variant=self._request.options.model_config_name,
            changing=supervisor.changing,
            abandon=supervisor.abandon,
            explain=own.explain,
            trials=own.trials,
        )

    def _supervised(self, event: ServerEvent) -> None:
        """Tell it, and which versions did not come back with the others of their models; see what came back."""
        self._tell(event)
        if event.kind in (EventKind.SERVER_RESTARTED, EventKind.MODEL_REPAIRED):
            self._proof.again(event.model)
        if event.kind is EventKind.SERVER_RESTARTED and self._watcher is not None:
            self._watcher.look_at_once()
        while self.server.left_out:
            (model, version), reason = self.server.left_out.popitem()
            self._tell(ServerEvent(kind=EventKind.REPAIR_FAILED, model=model, version=version, cause=reason))

    def _followed(self, supervisor: Supervisor, event: "RepositoryEvent") -> None:
        """What was rolled out comes back after a restart, from before anybody is told of it."""
        if event.outcome is not None:
            supervisor.note_rolled_out(event.outcome.models)
        elif event.kind == "unloaded":
            self.server.wanted.drop(event.model)
        self._tell(event)

    def _tell(self, event: ServiceEvent) -> None:
        with self._telling:
            self._tell_one(event)
