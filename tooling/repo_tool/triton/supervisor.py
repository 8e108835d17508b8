# SPDX-License-Identifier: Apache-2.0
"""A thread beside an embedded server that notices dead and stopped stubs and a dead server, and repairs them.

Triton 2.51 starts no stub again, and calls a model ready whose stub is dead (``TRITONBACKEND_ModelInstanceExecute`` of
its Python backend: "TODO: Implement restart"). The kernel tells of deaths; a stopped process is told by its state.
"""

__all__ = ["Supervisor"]

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Self

from repo_tool.errors import LoadRefusedError, ModelNameError, RepoToolError, ServerStartError
from repo_tool.triton.events import EventKind, OnEvent, ServerEvent
from repo_tool.triton.loading import Loader
from repo_tool.triton.log import ServerLog
from repo_tool.triton.options import LoadOutcome
from repo_tool.triton.repairs import Repairs
from repo_tool.triton.served import ServedModel
from repo_tool.triton.server import EmbeddedServer
from repo_tool.triton.standstill import Silence, Standstill
from repo_tool.triton.stub_processes import Ending, Stub, ending_of, memory_kills, state_of
from repo_tool.triton.stub_watch import StubWatch

_TICK_S = 0.5  # for what no descriptor tells
_STOPPED_AFTER_S = 0.7
_SETTLES_S = 1.5  # Triton lets go of replaced instances about a second after it said that the new ones are there
_PAUSES_S = (0.0, 0.0, 0.5, 1.0, 2.0)  # before each restart of a server that dies at once again
_AT_ONCE_S = 3.0
_STUCK_AFTER_S = 45.0
_LAST_LINES = 12
_KEEPER_S = 1.5  # for what the keeper does after the server's end
_PATIENCE_S = 30.0  # for models to be there again: what loads for longer does so while the others are watched
_ROLL_OUT_ENDS_S = 2.5  # one under way fails as soon as it asks the dead server anything
_ODDITIES = 5  # in a row, of which nobody knows what they mean


class Supervisor:
    """Watches over a started server, from ``start`` to ``stop``, or in a ``with`` block inside that of the server.

    Models are brought back in the versions and the configuration that they were served in, whatever the repository
    holds meanwhile. One that dies at once again after every repair is unloaded and named.

    Args:
        server: has been started.
        on_event: is told what happens, in a thread of ours, one event at a time.
        hang_after_s: a model is loaded again that for so long has answered none of the requests that wait for it, and
            has not computed either; None: it may take all the time it wants.
    """

    def __init__(
        self, server: EmbeddedServer, *, on_event: OnEvent = lambda _: None, hang_after_s: float | None = 60.0
    ) -> None:
        self.changing = threading.RLock()  # whoever loads and unloads models holds it, so that no repair comes between
        self._server, self._tell_one = server, on_event
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        self._is_silent = False
        self._is_whole = True
        self._server_stopped_since: float | None = None
        self._wake_reader, self._wake_writer = os.pipe()
        self._watch = StubWatch(server.pid, wake=self._wake_reader)
        self._repairs = Repairs(
            server,
            watch=lambda: self._watch,
            on_event=self._tell,
            changing=self.changing,
            stopping=self._stopping,
        )
        self._hang_after_s = hang_after_s
        self._standstill = Standstill(_address(server.metrics_url), after_s=hang_after_s or 0.0)
        self._silence = Silence(server)
        self._served: Mapping[str, ServedModel] = {}
        self._log: ServerLog | None = None
        self._log_end = 0
        self._settled_at = 0.0
        self._up_since = time.monotonic()
        self._deaths_at_once = 0
        self._memory_kills = memory_kills()
        self._ended_by_us: set[int] = set()
        self._given_up: ServerEvent | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()
        threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def stop(self, *, patience_s: float | None = None) -> None:
        """Watch no more; a repair under way comes to its end, if that takes no longer than ``patience_s``.

        One that takes longer ends with the server, and tells nothing any more. Twice is once.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_writer, b"x")
        if self._thread.ident is not None:
            self._thread.join(patience_s)
        if self._thread.is_alive():
            self._is_silent = True
            return
        self._watch.close()
        os.close(self._wake_writer)
        os.close(self._wake_reader)

    def raise_if_given_up(self) -> None:
        """Say why the server is not there and will not be started again.

        Raises:
            ServerStartError: it died at once again after every restart, could not be started again, or cannot be
                watched.
        """
        if (event := self._given_up) is not None:
            raise ServerStartError(
                "the embedded Triton ends by itself again and again", cause=event.last_words or event.cause
            )

    @property
    def is_whole(self) -> bool:
        """Whether the server has what it served; not from its death on until that is back."""
        return self._is_whole

    def knows(self, model: str) -> bool:
        """Whether the model would be brought back as it serves now."""
        return model in self._served and (self._served[model].is_ensemble or model in self._watch.models)

    def abandon(self, model: str, version: int) -> None:
        """End what the server is loading for a version, and nothing of what it serves of it."""
        self._watch.look_again()
        living = self._watch.living(model, str(version))
        served = self._served.get(model)
        kept = served.instances if served is not None and str(version) in served.versions else 0
        for stub in living[kept:]:
            self._end(stub.pid)

    def note_rolled_out(self, models: Iterable[str]) -> None:
        """They are served as the repository has them, and come back so."""
        self._server.wanted.as_published(models)
        with suppress(RepoToolError):  # it has just died
            self._server.served(is_wanted=True)

    def _run(self) -> None:
        oddities = 0
        while not self._stopping.is_set() and self._given_up is None:
            try:
                self._watch.wait(_TICK_S)
                self._see_to_it()
            except Exception as error:  # noqa: BLE001 # whatever it is, the rest is watched on
                oddities += 1
                self._tell_oddity(error, is_last=oddities == _ODDITIES)
                self._stopping.wait(_TICK_S)
            else:
                oddities = 0

    def _see_to_it(self) -> None:
        if self._stopping.is_set():
            return
        if self._is_there():
            self._look()
        else:
            self._is_whole = False
            self._bring_the_server_back()
            self._is_whole = True

    def _tell_oddity(self, error: Exception, *, is_last: bool) -> None:
        kind = EventKind.SERVER_GIVEN_UP if is_last else EventKind.REPAIR_FAILED
        event = ServerEvent(kind=kind, cause=f"its supervisor: {type(error).__name__}: {error}")
        if is_last:
            self._given_up = event
        self._tell(event)

    def _is_there(self) -> bool:
        return self._server.is_running() and state_of(self._watch.server) not in ("Z", "X", "")

    def _guard(self) -> None:
        """In a thread of its own: whoever asks a server that stands still waits for long."""
        while not self._stopping.wait(_TICK_S) and self._given_up is None:
            if self._is_whole:
                self._end_a_stopped_server()

    def _end_a_stopped_server(self) -> None:
        """Kill what stands still, or has long answered nobody: its end is what can be mended."""
        process, now = self._watch.server, time.monotonic()
        self._server_stopped_since = (self._server_stopped_since or now) if state_of(process) == "T" else None
        cause = ""
        if self._server_stopped_since is not None and now - self._server_stopped_since > _STOPPED_AFTER_S:
            cause = "it was stopped"
        elif silent_s := self._silence.lasts_s():
            cause = f"it has answered nobody for {silent_s:.0f} s"
        if cause:
            self._tell(ServerEvent(kind=EventKind.SERVER_STOPPED, cause=cause))
            self._server_stopped_since = None
            self._end(process)

    def _look(self) -> None:
        self._tend()
        if self._log_tells_news():
            self._settled_at = time.monotonic() + _SETTLES_S
        if time.monotonic() < self._settled_at:
            self._watch.look_again()
            self._remember()
            if endings := self._watch.lost_strangers():
                cause = self._cause(endings[-1])
                for model in self._served.values():
                    self._repairs.check(model, cause)

    def _remember(self) -> None:
        """Note what serves; as what is to come back only while nobody is at changing it."""
        is_settled = self.changing.acquire(blocking=False)
        try:
            with suppress(RepoToolError):  # it has just died
                self._served = self._server.served(is_wanted=is_settled)
        finally:
            if is_settled:
                self.changing.release()
            else:
                self._settled_at = time.monotonic() + _SETTLES_S

    def _tend(self) -> None:
        for stub in self._watch.stopped():
            self._tell(ServerEvent(kind=EventKind.STUB_STOPPED, model=stub.model, version=stub.version))
            self._end(stub.pid)
        if self._hang_after_s:
            self._end_what_hangs(self._hang_after_s)
        for stub, ending in self._watch.deaths():
            cause = self._cause(ending)
            is_told = stub.pid in self._ended_by_us
            if not is_told and self._serves(stub):
                self._tell(ServerEvent(kind=EventKind.STUB_DIED, model=stub.model, version=stub.version, cause=cause))
                is_told = True
            self._ended_by_us.discard(stub.pid)
            self._repairs.note(stub.model, stub.version, cause, is_told=is_told)
        self._repairs.begin()
        for model in self._repairs.stuck(after_s=_STUCK_AFTER_S):
            self._tell(ServerEvent(kind=EventKind.REPAIR_FAILED, model=model, cause="Triton does not get on with it"))
            self._end(self._watch.server)  # which is the only way on from there

    def _end_what_hangs(self, after_s: float) -> None:
        stubs = [stub for stub in self._watch.stubs if self._serves(stub)]
        waits = [stub for stub in stubs if not self._served[stub.model].keeps_sequences]
        for model, version in self._standstill.found(waits):
            cause = f"requests wait for it, and in {after_s:g} s it has neither answered nor computed"
            self._tell(ServerEvent(kind=EventKind.STUB_STOPPED, model=model, version=version, cause=cause))
            for stub in self._watch.living(model, version):
                self._end(stub.pid)

    def _serves(self, stub: Stub) -> bool:
        """Whether its version has served; of one that is still loading, the load tells the end."""
        served = self._served.get(stub.model)
        return served is not None and stub.version in served.versions

    def _log_tells_news(self) -> bool:
        with suppress(ServerStartError, OSError):
            log = self._server.log
            start = self._log_end if log is self._log else 0
            self._log = log
            self._log_end, news = log.tells_of_loads(start)
            return news
        return False

    def _cause(self, ending: Ending | None) -> str:
        if ending is None:
            return ""
        before, self._memory_kills = self._memory_kills, memory_kills()
        if ending.signal == signal.SIGKILL and self._memory_kills > before:
            return f"{ending.words}, as the machine or its container has run out of memory"
        return ending.words

    def _end(self, process: int) -> None:
        self._ended_by_us.add(process)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    def _bring_the_server_back(self) -> None:
        """Start it and load what it served, or say that this is of no use any more."""
        noticed = time.monotonic()
        self._repairs.forget()
        died = self._death()
        self._tell(died)
        at_once = noticed - self._up_since < _AT_ONCE_S
        self._deaths_at_once = self._deaths_at_once + 1 if at_once else 1
        with self._others_waiting():
            for pause in _PAUSES_S[self._deaths_at_once - 1 :]:
                if self._stopping.wait(pause):
                    return
                if self._restarted():
                    count = self._load({**self._server.wanted.all(), **self._repairs.unfinished})
                    self._up_since = time.monotonic()
                    words = f"{count} model{'s' if count != 1 else ''}"
                    seconds = time.monotonic() - noticed
                    self._tell(ServerEvent(kind=EventKind.SERVER_RESTARTED, cause=words, seconds=seconds))
                    self._let_it_be_ready()
                    return
        self._given_up = ServerEvent(kind=EventKind.SERVER_GIVEN_UP, cause=died.cause, last_words=died.last_words)
        self._tell(self._given_up)

    def _let_it_be_ready(self) -> None:
        with suppress(ServerStartError):  # it died again, which the next look sees
            if not self._server.say_loaded():
                words = "the server cannot be told that it is ready"
                self._tell(ServerEvent(kind=EventKind.REPAIR_FAILED, cause=words))

    @contextmanager
    def _others_waiting(self) -> Iterator[None]:
        """Nobody is to take what a server serves that was just started for what it served before."""
        has_turn = self.changing.acquire(timeout=_ROLL_OUT_ENDS_S)
        try:
            yield
        finally:
            if has_turn:
                self.changing.release()

    def _death(self) -> ServerEvent:
        cause = self._cause(ending_of(self._watch.server) or self._told_by_keeper())
        words = ""
        with suppress(ServerStartError, OSError):
            words = self._server.log.last_lines(_LAST_LINES)
        return ServerEvent(kind=EventKind.SERVER_DIED, cause=cause, last_words=words)

    def _told_by_keeper(self) -> Ending | None:
        code = self._server.exit_code(wait_s=_KEEPER_S)
        return None if code is None else Ending(signal=-code) if code < 0 else Ending(exit_code=code)

    def _restarted(self) -> bool:
        try:
            self._server.restart()
            watch = StubWatch(self._server.pid, wake=self._wake_reader)
        except (RepoToolError, OSError, ValueError) as error:  # no room for its files, or it ended as soon as it was up
            cause = str(error)
            if isinstance(error, RepoToolError):
                cause = f"{error.fact}: {error.cause}" if error.cause else error.fact
            self._tell(ServerEvent(kind=EventKind.RESTART_FAILED, cause=cause))
            return False
        self._watch.close()
        self._watch = watch
        self._silence = Silence(self._server)
        return True

    def _load(self, wanted: Mapping[str, ServedModel | None]) -> int:
        """Load what is wanted; returns how many models are there."""
        self._served = {name: served for name, served in wanted.items() if served is not None}
        last = [name for name, served in wanted.items() if self._is_ensemble(name, served)]
        ended: set[str] = set()

        def settle(outcome: LoadOutcome) -> None:
            if outcome.is_ready:
                ended.add(outcome.model)
            self._settle(outcome, wanted[outcome.model])

        loader = Loader(lambda name: self._loaded(name, wanted[name]), patience_s=_PATIENCE_S, on_outcome=settle)
        with suppress(ServerStartError):  # it died again, which the next look sees
            loader.run([name for name in wanted if name not in last])
            loader.run(last)
        return len(ended)

    def _is_ensemble(self, name: str, served: ServedModel | None) -> bool:
        return served.is_ensemble if served is not None else self._server.is_ensemble(name)

    def _settle(self, outcome: LoadOutcome, served: ServedModel | None) -> None:
        if outcome.is_ready and served is not None:
            self._repairs.check(served)
        elif outcome.refusal is not None and served is not None and not served.is_given_up:
            self._repairs.take_up(served, outcome.reason)
        elif outcome.refusal is not None:  # as before, or as the repository has it by now
            self._tell(ServerEvent(kind=EventKind.REPAIR_FAILED, model=outcome.model, cause=outcome.reason))

    def _loaded(self, name: str, served: ServedModel | None) -> LoadOutcome:
        started = time.monotonic()
        refusal: RepoToolError | None = None
        try:
            if served is not None:
                self._server.load_served(served)
            else:
                self._server.load(name)
        except (LoadRefusedError, ModelNameError) as error:
            refusal = error
        seconds = time.monotonic() - started
        versions = served.versions if served is not None else ()
        return LoadOutcome(model=name, versions=versions, seconds=seconds, refusal=refusal)

    def _tell(self, event: ServerEvent) -> None:
        with self._telling, suppress(Exception):  # whoever cannot bear to hear of it must not end what is told
            if not self._is_silent:
                self._tell_one(event)


def _address(url: str) -> str:
    """Host and port of a URL with a path."""
    return url.split("/")[2]
