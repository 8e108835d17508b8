# SPDX-License-Identifier: Apache-2.0
"""Bringing a model with dead stubs back, beside what still serves, until that has proven to be of no use."""

__all__ = ["Repairs"]

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from repo_tool.errors import LoadRefusedError, RepoToolError
from repo_tool.triton.events import EventKind, OnEvent, ServerEvent
from repo_tool.triton.served import ServedModel
from repo_tool.triton.server import EmbeddedServer
from repo_tool.triton.stub_processes import Stub
from repo_tool.triton.stub_watch import StubWatch

_TOGETHER_S = 0.05  # in which stubs end that are ended at once
_PAUSES_S = (_TOGETHER_S, _TOGETHER_S, 0.5, 1.0, 2.0)  # before each repair of a model that dies at once again
_AT_ONCE_S = 3.0
_UNSEEN = "it ended as soon as it was there"
_DEATHS_COUNT_FOR_S = 10.0  # until what was replaced meanwhile is gone too
_TURN_TIMEOUT_S = 2.0
_SOON_S = 1.0  # as long as a death may go unnoticed
_MOST_AT_ONCE = 2  # Triton takes a second to let go of each, and one of its HTTP threads waits for all of them


@dataclass(slots=True)
class _Streak:
    """How often a version died at once after it was repaired."""

    count: int = 0
    repaired_at: float = -_AT_ONCE_S
    cause: str = _UNSEEN

    def goes_on(self, cause: str) -> None:
        self.cause = cause if cause != _UNSEEN else self.cause
        self.count = self.count + 1 if time.monotonic() - self.repaired_at < _AT_ONCE_S else 1

    @property
    def is_hopeless(self) -> bool:
        return self.count > len(_PAUSES_S)


class Repairs:
    """Repairs each model in a thread of its own, one repair of a model at a time.

    ``watch`` gives the stubs of the server that runs now; ``changing`` is held, if it can be had soon, while a model
    is loaded.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        *,
        watch: Callable[[], StubWatch],
        on_event: OnEvent,
        changing: threading.RLock,
        stopping: threading.Event,
    ) -> None:
        self._server, self._watch, self._on_event = server, watch, on_event
        self._changing, self._stopping = changing, stopping
        self._died: dict[tuple[str, str], tuple[float, str]] = {}  # when it was noticed, and why
        self._untold: set[tuple[str, str]] = set()  # those of them that nobody has heard of
        self._streaks: dict[tuple[str, str], _Streak] = {}
        self._under_repair: dict[str, ServedModel | None] = {}
        self._refused: dict[str, ServedModel] = {}
        self._loading_since: dict[str, float] = {}
        self._load_s: dict[tuple[str, tuple[str, ...]], float] = {}  # how long those took that were unloaded
        self._lock = threading.Lock()

    @property
    def unfinished(self) -> Mapping[str, ServedModel]:
        """Models that serve again once their repair is done, as they were served."""
        with self._lock:
            under_repair = {name: served for name, served in self._under_repair.items() if served is not None}
            return under_repair | self._refused

    def stuck(self, *, after_s: float) -> list[str]:
        """The models that are being loaded for so long although no stub of theirs is there that could be at work.

        Triton waits for good for a stub that died before it had said a word.
        """
        long_ago = time.monotonic() - after_s
        started = tuple(self._loading_since.items())
        return [name for name, since in started if since < long_ago and not self._watch().lives(name)]

    def note(self, model: str, version: str, cause: str, *, is_told: bool) -> None:
        """A stub of this version has died; unless that was told, it is when the version proves to be served."""
        with self._lock:
            if cause != _UNSEEN or (model, version) not in self._died:
                self._died[model, version] = (time.monotonic(), cause)
            (self._untold.discard if is_told else self._untold.add)((model, version))

    def check(self, served: ServedModel, cause: str = _UNSEEN) -> None:
        """See whether the stubs of a model that was just loaded live still: nobody has seen them begin."""
        self._watch().look_again()
        for version in served.versions:
            if served.has_stubs and self._lacks(served, version):
                self.note(served.name, version, cause, is_told=False)

    def forget(self) -> None:
        """The server itself has died, and every stub with it."""
        with self._lock:
            self._died.clear()

    def begin(self) -> None:
        """Start the repairs that are due."""
        with self._lock:
            refused = {name: served for name, served in self._refused.items() if name not in self._under_repair}
            self._refused = {name: served for name, served in self._refused.items() if name not in refused}
            self._under_repair |= refused
            due = {model for model, _ in self._died} - self._under_repair.keys()
            self._under_repair |= dict.fromkeys(due)
        for model, served in refused.items():
            self._start(model, partial(self._bring_back, served, noticed=time.monotonic()))
        for model in due:
            self._start(model, partial(self._repair_if_lacking, model))

    def take_up(self, served: ServedModel, cause: str) -> None:
        """A model was refused that a server had served before it died: it is loaded until it serves, or hopeless."""
        self._on_event(ServerEvent(kind=EventKind.REPAIR_FAILED, model=served.name, cause=cause))
        with self._lock:
            self._refused[served.name] = served

    def _start(self, model: str, repair: Callable[[], None]) -> None:
        threading.Thread(target=self._run, args=(model, repair), name=f"repair-{model}", daemon=True).start()

    def _repair_if_lacking(self, model: str) -> None:
        served = self._server.served({model}).get(model)
        lacking = self._lacking(model, served)
        if served is not None and lacking:
            self._repair(served, lacking)

    def _run(self, model: str, repair: Callable[[], None]) -> None:
        try:
            with self._turn():
                repair()
        except LoadRefusedError as error:  # when the last version was to be unloaded
            self._on_event(ServerEvent(kind=EventKind.REPAIR_FAILED, model=model, cause=error.cause or error.fact))
        except RepoToolError:
            return  # the server itself is gone, which is somebody else's to mend
        except Exception as error:  # noqa: BLE001 # it must not end unheard of
            cause = f"{type(error).__name__}: {error}"
            self._on_event(ServerEvent(kind=EventKind.REPAIR_FAILED, model=model, cause=cause))
        finally:
            with self._lock:
                del self._under_repair[model]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let a roll-out come to its end, which may mend the model or wait for something that will never be."""
        has_turn = self._changing.acquire(timeout=_TURN_TIMEOUT_S)
        try:
            yield
        finally:
            if has_turn:
                self._changing.release()

    def _lacking(self, model: str, served: ServedModel | None) -> dict[str, tuple[float, str]]:
        """The versions that have fewer stubs than instances; the others are forgotten once they had their time."""
        now = time.monotonic()
        with self._lock:
            noted = {version: told for (name, version), told in self._died.items() if name == model}
            lacking = {
                version: told
                for version, told in noted.items()
                if served is not None and version in served.versions and self._lacks(served, version)
            }
            for version, (noticed, _) in noted.items():
                if version in lacking or served is None or now - noticed > _DEATHS_COUNT_FOR_S:
                    del self._died[model, version]
        return lacking

    def _lacks(self, served: ServedModel, version: str) -> bool:
        return len(self._watch().living(served.name, version)) < served.instances

    def _repair(self, served: ServedModel, lacking: Mapping[str, tuple[float, str]]) -> None:
        noticed = min(moment for moment, _ in lacking.values())
        self._tell_untold(served.name, lacking)
        for version, (_, cause) in lacking.items():
            streak = self._streaks.setdefault((served.name, version), _Streak())
            streak.goes_on(cause)
            if streak.is_hopeless:
                served = self._give_up(served, version, streak.cause)
        if not served.versions or not any(version in served.versions for version in lacking):
            return
        with self._lock:
            self._under_repair[served.name] = served
        pause = max(_PAUSES_S[self._streaks[served.name, version].count - 1] for version in lacking)
        if self._stopping.wait(pause):
            return
        self._bring_back(served, noticed=noticed)
        for version in lacking:
            self._streaks[served.name, version].repaired_at = time.monotonic()

    def _tell_untold(self, model: str, lacking: Mapping[str, tuple[float, str]]) -> None:
        for version, (_, cause) in lacking.items():
            if (model, version) in self._untold:
                self._on_event(ServerEvent(kind=EventKind.STUB_DIED, model=model, version=version, cause=cause))
                self._untold.discard((model, version))

    def _give_up(self, served: ServedModel, version: str, cause: str) -> ServedModel:
        rest, last_words = served.without(version), self._server.log.last_words()
        if rest.versions:
            self._server.load_served(rest)
        else:
            self._server.unload(served.name)
            with suppress(LoadRefusedError):
                self._server.load_served(served.given_up())
        words = f"{cause}; it was repaired {len(_PAUSES_S)} times and died at once again"
        self._on_event(
            ServerEvent(
                kind=EventKind.MODEL_GIVEN_UP,
                model=rest.name,
                version=version,
                cause=words,
                last_words=last_words,
            )
        )
        return rest

    def _bring_back(self, served: ServedModel, *, noticed: float) -> None:
        for pause in (0.0, *_PAUSES_S[1:]):
            if self._stopping.wait(pause):
                return
            try:
                self._load(served)
            except LoadRefusedError as error:
                event = ServerEvent(kind=EventKind.REPAIR_FAILED, model=served.name, cause=error.cause or error.fact)
                self._on_event(event)
            else:
                seconds = time.monotonic() - noticed
                self._on_event(ServerEvent(kind=EventKind.MODEL_REPAIRED, model=served.name, seconds=seconds))
                return
        self._on_event(
            ServerEvent(
                kind=EventKind.MODEL_GIVEN_UP,
                model=served.name,
                cause="Triton refuses to load it again",
                last_words=self._server.log.last_words(),
            )
        )

    def _load(self, served: ServedModel) -> None:
        """Side by side with what lives; a model without any living stub is unloaded first, so that it is not ready.

        Unless it is back so soon that nobody will have missed it: Triton keeps what it unloads if a request has met it.
        """
        living = [stub for version in served.versions for stub in self._watch().living(served.name, version)]
        stays = bool(living) or self._is_soon_back(served)
        callers = [] if stays else self._unloaded(served.name)
        renewed = self._renewed(served, living) if stays else served.renewed()
        self._loading_since[served.name] = began = time.monotonic()
        try:
            self._server.load_served(renewed)
        finally:
            del self._loading_since[served.name]
        if not stays:
            self._load_s[served.name, served.versions] = time.monotonic() - began
        for version in served.versions:
            self._watch().retire_all_but(served.instances, served.name, version)
        with self._lock:
            self._died = {key: told for key, told in self._died.items() if key[0] != served.name or told[0] > began}
        self.check(served)
        for caller in callers:
            if not self._server.ready_versions(caller.name):
                self._server.load_served(caller)

    def _is_soon_back(self, served: ServedModel) -> bool:
        soon = self._load_s.get((served.name, served.versions), _SOON_S) < _SOON_S
        few = served.instances <= _MOST_AT_ONCE
        return soon and few and set(self._server.ready_versions(served.name)) == set(served.versions)

    def _unloaded(self, model: str) -> list[ServedModel]:
        """Unload a model; returns the ensembles over it, which go with it."""
        callers = [each for each in self._server.served().values() if model in each.members]
        self._server.unload(model)
        return callers

    def _renewed(self, served: ServedModel, living: Sequence[Stub]) -> ServedModel:
        """What makes Triton replace the instances that died, or all of them."""
        if served.keeps_sequences:  # which would wait for the ends of the sequences of the dead
            return served.renewed()
        counts = [Counter(stub.instance for stub in living if stub.version == each) for each in served.versions]
        fewest = {stub.instance: min(count[stub.instance] for count in counts) for stub in living}
        again = served.with_new_instances(fewest)
        kept = sum(fewest.values()) if served.tells_instances_apart else 0
        return again.renewed() if served.instances - kept > _MOST_AT_ONCE else again
