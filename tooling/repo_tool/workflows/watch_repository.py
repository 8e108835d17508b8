# SPDX-License-Identifier: Apache-2.0
"""A live server follows its repository: what is published is rolled out, what is taken out is unloaded."""

__all__ = ["RepositoryEvent", "Watcher"]

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import repo_client
from repo_client import Client
from repo_tool.errors import RepoToolError, RollOutError, RollOutUnderWayError, ServerUnreachableError
from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import publishing
from repo_tool.repository.needed_models import needed_models
from repo_tool.workflows.model_on_server import ModelOnServer
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.repository_looks import Files, Look, look_at, look_into
from repo_tool.workflows.roll_out import RolledOut, RollOutRequest, roll_out

EventKind = Literal["noticed", "rolled out", "unloaded", "failed"]

_LOOKS_APART_S = 0.25
_SETTLES_S = 0.1  # two looks that see the same: whoever copies a model by hand is still at it otherwise
_OTHERS_WAIT_S = 1.0  # for a model that does not settle
_GONE_S = 2.0  # a model that nobody took out with a command: it may come back, as with a git checkout
_REMOVALS = ("withdraw", "remove")  # in the journal's words; of a whole model it names the versions
_FIRST_RETRY_S, _LAST_RETRY_S = 10.0, 600.0  # of what failed, as long as it does not change
_SHARE_OF_A_CORE = 0.005  # for looking; a repository of thousands of models is looked at less often
_AWAY_S = 1.0  # before the next attempt at a server that does not answer, or at a lock that another has


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
        if self.outcome is not None:
            return f"{self.model}: {_of_versions(self.outcome)}, after {self.seconds:.1f} s"
        if self.error is not None:
            told = (self.error.fact, self.error.cause, self.error.next_step)
            return f"{self.model}: {'; '.join(words for words in told if words)}"
        return f"{self.model}: {_WORDS[self.kind]}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a log."""
        return {
            "event": self.kind,
            "model": self.model,
            "seconds": round(self.seconds, 3),
            **({"outcome": self.outcome.to_dict()} if self.outcome else {}),
            **({"error": self.error.to_dict()} if self.error else {}),
        }


_WORDS: dict[EventKind, str] = {"noticed": "changed in the repository", "unloaded": "taken out, and unloaded"}


def _of_versions(outcome: RolledOut) -> str:
    gone = sorted(set(outcome.before) - set(outcome.served))
    words = f"version {', '.join(map(str, outcome.served))} serves"
    words += f", version {', '.join(map(str, gone))} no longer" if gone else ""
    words += "".join(f", version {version} unproven: {why}" for version, why in outcome.unproven.items())
    return words + (f", '{outcome.label}' is version {outcome.labelled}" if outcome.label else "")


@dataclass(slots=True, kw_only=True)
class _Failed:
    """A model that is not served as the repository has it."""

    words: str  # what was told
    files: Files  # its own and those of what it needs, as they were tried
    pause_s: float = _FIRST_RETRY_S
    again_at: float = field(default_factory=lambda: time.monotonic() + _FIRST_RETRY_S)  # inf: when it changes
    latest: Files = frozenset()  # its files as they were when last looked at


@dataclass(slots=True)
class _Waiting:
    """The models that are to be brought to the server, and since when."""

    since: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # to have failed for want of a server
    failed: dict[str, _Failed] = field(default_factory=dict)  # wait for their next change, or for their time
    retried: dict[str, _Failed] = field(default_factory=dict)  # as they failed before; those words are not told again
    lost: set[str] = field(default_factory=set)  # the server ended while they were rolled out

    def add(self, models: Iterable[str]) -> None:
        for model in models:
            self.since[model] = time.monotonic()
            self.failed.pop(model, None)
            self.retried.pop(model, None)
            self.lost.discard(model)

    def again(self, model: str) -> None:
        """What has failed is tried once more."""
        self.retried[model] = self.failed.pop(model)
        self.since[model] = time.monotonic()

    def done(self, models: Iterable[str]) -> None:
        for model in models:
            self.since.pop(model, None)
            self.told.discard(model)

    def fail(self, model: str, failure: _Failed) -> bool:
        """Whether that is news."""
        before = self.retried.pop(model, None)
        if before is not None and before.files == failure.files:
            failure.pause_s = min(2 * before.pause_s, _LAST_RETRY_S)
            failure.again_at = max(failure.again_at, time.monotonic() + failure.pause_s)
        if model in self.lost:
            failure.again_at = float("inf")
        self.failed[model] = failure
        return before is None or before.words != failure.words

    def settle(self, models: Iterable[str]) -> None:
        """They are served as the repository has them."""
        for model in models:
            self.failed.pop(model, None)
            self.retried.pop(model, None)
            self.lost.discard(model)


class Watcher:
    """Follows a repository in a thread of its own, from ``start`` to ``stop``, or in a ``with`` block.

    What the repository holds when the watcher is made counts as served, so make it before the models are loaded. A
    change that cannot be rolled out is told once, and tried again when a file of the model changes, and from time to
    time; for a server that does not answer it waits. A repository that cannot be read, or is empty all at once, is one
    that has not changed. A model is unloaded when the journal says that it was removed, or once it has been gone for
    two seconds.

    Args:
        repository: what the server reads.
        connect: a client of the server that may load models; asked for each time, as a server that was started anew
            has other keys.
        on_event: is told, in the watcher's thread.
        label: points at each version that is published from now on, once that is proven; a model without it has it
            point at what it serves. Where else somebody lets it point is left to him.
        models: follow these alone, and what they need.
        variant: the server's ``--model-config-name``.
        changing: is held while models are loaded and unloaded; for others who do that too.
        load_timeout_s: for Triton to come to an end with loading a model.
        abandon: ends what Triton is loading for a model's version when that takes longer.
        explain: why Triton "failed to poll" a model.
        trials: a repository of the server, in which new versions are tried under another name.
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
        explain: Callable[[str], str] | None = None,
        trials: Callable[[], Path] | None = None,
    ) -> None:
        self._repository, self._connect, self._tell = ModelRepository(repository), connect, on_event
        self._label, self._models, self._variant = label, models, variant
        self._changing = changing if changing is not None else nullcontext()
        self._load_timeout_s, self._abandon, self._explain, self._trials = load_timeout_s, abandon, explain, trials
        self._seen: Look = {}
        self._seen = self._look()
        self._newest = {name: self._newest_version(name) for name in self._seen}  # when it was last rolled out
        self._gone_since: dict[str, float] = {}
        self._trouble = ""
        self._waiting = _Waiting()
        self._stopping, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Follow what has changed since the watcher was made, and what will."""
        self._thread.start()

    def stop(self, *, patience_s: float = 5.0) -> None:
        """Follow no more; a roll-out under way is finished or restored, if that takes no longer than ``patience_s``.

        One that takes longer ends with the server, and tells nothing any more.
        """
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def look_at_once(self) -> None:
        """Try what has failed now: the server was started anew, with what it served before a roll-out that it cut off.

        What has ended the server twice waits for its next change.
        """
        for model, failure in tuple(self._waiting.failed.items()):
            if model not in self._waiting.lost:
                failure.again_at = 0.0
        self._woken.set()

    def changes(self) -> tuple[str, ...]:
        """The models that changed and were not rolled out yet, failed ones included."""
        return tuple(sorted({*tuple(self._waiting.since), *tuple(self._waiting.failed)}))

    def _run(self) -> None:
        with self._going_on():
            self._hold_ensembles()
            self._waiting.add([name for name in self._seen if self._lacks_label(name)])
        pause_s = _LOOKS_APART_S
        while not self._wait(pause_s):
            began = time.thread_time()
            with self._going_on():
                self._notice(self._changed())
                self._follow_again()
            pause_s = max(_LOOKS_APART_S, (time.thread_time() - began) / _SHARE_OF_A_CORE)
            with self._going_on():
                if self._waiting.since:
                    self._follow()

    def _wait(self, pause_s: float) -> bool:
        """Whether to stop, after a pause or as soon as there is something to do."""
        self._woken.wait(pause_s)
        self._woken.clear()
        return self._stopping.is_set()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Tell what nobody has thought of, once as long as it stays the same, and follow on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 # it would end the thread, and with it all following
            words, self._trouble = self._trouble, f"{type(error).__name__}: {error}"
            if words != self._trouble and not self._stopping.is_set():
                failure = RollOutError("the repository was not followed", cause=self._trouble)
                self._tell(RepositoryEvent(kind="failed", model=self._repository.path.name, error=failure))

    def _notice(self, changed: Sequence[str]) -> None:
        self._waiting.add(changed)
        for model in changed:
            self._tell(RepositoryEvent(kind="noticed", model=model))

    def _follow_again(self) -> None:
        """Try once more what has failed, when its files have changed and settled, or when it is time."""
        there = [each for each in self._waiting.failed.items() if (self._repository.path / each[0]).is_dir()]
        for model, failure in there:
            before, failure.latest = failure.latest, self._files(model)
            if failure.latest == failure.files:
                is_due = time.monotonic() > failure.again_at
            else:
                is_due = failure.latest == before
                self._waiting.lost.discard(model)
            if is_due:
                self._waiting.again(model)

    def _files(self, model: str) -> Files:
        looks = (look_into(ModelDirectory(self._repository.path / name)) for name in {model, *self._needed([model])})
        return frozenset().union(*looks)

    def _hold_ensembles(self) -> None:
        """Tell the server by number which version of an ensemble it serves, as long as there is no newer one.

        Triton loads an ensemble again whenever a member changes, and takes what is the newest by then.
        """
        if self._look() != self._seen:
            return
        with suppress(repo_client.RepoClientError, RepoToolError), self._changing, self._connect() as client:
            for model in self._ensembles():
                server = ModelOnServer(client=client, name=model, timeout_s=self._load_timeout_s)
                if (serving := server.versions()) and not server.is_held():
                    server.load(server.document(), serving)

    def _ensembles(self) -> Iterator[str]:
        for name in self._seen:
            with suppress(RepoToolError, OSError):  # told when it is to be loaded
                if self._repository.model(name).read_config(self._variant).is_ensemble:
                    yield name

    def _look(self) -> Look:
        found = look_at(self._repository, variant=self._variant, before=self._seen)
        # One that is not mounted is empty too.
        return found or {name: look for name, look in self._seen.items() if not self._is_removed(name)}

    def _changed(self) -> list[str]:
        """The models that look otherwise than the last time, once they look the same twice."""
        before = now = self._look()
        deadline = time.monotonic() + _OTHERS_WAIT_S
        while now != self._seen:
            if self._stopping.wait(_SETTLES_S):
                return []
            before, now = now, self._look()
            if before == now or time.monotonic() > deadline:
                break
        differing = [name for name in now.keys() | self._seen.keys() if now.get(name) != self._seen.get(name)]
        settled = sorted(name for name in differing if now.get(name) == before.get(name))
        settled = self._without_missing(settled, now)
        taken = {name: now[name] for name in settled if name in now}
        self._seen = {name: look for name, look in self._seen.items() if name not in settled} | taken
        return [name for name in settled if self._is_followed(name)]

    def _without_missing(self, settled: Sequence[str], now: Look) -> list[str]:
        """Without those that are not there and may come back."""
        gone = {name for name in settled if name not in now}
        self._gone_since = {name: self._gone_since.get(name, time.monotonic()) for name in gone}
        long_gone = {name for name, since in self._gone_since.items() if time.monotonic() - since > _GONE_S}
        return [name for name in settled if name in now or name in long_gone or self._is_removed(name)]

    def _is_removed(self, name: str) -> bool:
        """Whether the journal says that somebody has taken the model out."""
        entries = Journal(self._repository).entries_of(name)
        return bool(entries) and entries[-1].action in _REMOVALS and "versions" in entries[-1].details

    def _is_followed(self, name: str) -> bool:
        return self._models is None or name in self._models or name in self._needed(self._models)

    def _needed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Also what they need, as far as their configurations can be read."""
        try:
            return needed_models(self._repository, names)
        except (RepoToolError, OSError):  # told when it is to be loaded
            return tuple(names)

    def _follow(self) -> None:
        with self._changing:
            self._let_publishers_finish()
            for model in self._in_order():
                if model not in self._waiting.since or self._stopping.is_set():
                    continue
                files = self._files(model)
                event, models = self._brought(model)
                self._settle(event, models, files)

    def _let_publishers_finish(self) -> None:
        """A pipeline's models are renamed one by one: wait until nobody is at it."""
        if self._repository.private_path.is_dir():
            with suppress(OSError), publishing(self._repository):
                pass

    def _in_order(self) -> Iterator[str]:
        """Those that others do not need first: each brings what it needs."""
        waiting = set(self._waiting.since)
        inner = {name for model in waiting for name in self._needed([model]) if name != model}
        yield from sorted(waiting - inner)
        yield from sorted(waiting & inner)

    def _brought(self, model: str) -> tuple[RepositoryEvent, tuple[str, ...]]:
        """What came of a model, and all the models of which it did."""
        since = self._waiting.since[model]
        try:
            with self._connect() as client:
                if model not in self._seen:
                    self._unload(client, model)
                    return self._event("unloaded", model, since), (model,)
                outcome = roll_out(self._request(model), client, RecordedProgress())
                self._forget_refused(client, outcome.models)
        except RepoToolError as error:
            return self._event("failed", model, since, error=error), (model, *self._needed([model]))
        except repo_client.RepoClientError as error:
            failure = ServerUnreachableError(error.fact, next_step=error.hint)
            return self._event("failed", model, since, error=failure), (model,)
        except Exception as error:  # noqa: BLE001 # of one odd model: the others are followed on
            told = RollOutError(f"'{model}' was not rolled out", cause=f"{type(error).__name__}: {error}")
            return self._event("failed", model, since, error=told), (model, *self._needed([model]))
        return self._event("rolled out", model, since, outcome=outcome), outcome.models

    def _unload(self, client: Client, model: str) -> None:
        """Unload what has no folder any more; if it was refused, let the server be ready without it.

        The server's index does not tell of a model without a folder, so all that it may have refused is stood in for.
        """
        has_served, is_ready = client.admin.is_model_ready(model), client.admin.is_ready()
        client.admin.unload(model)
        if not has_served and not is_ready:
            ModelOnServer(client=client, name=model, timeout_s=self._load_timeout_s).forget(self._had(model))

    def _had(self, model: str) -> set[int]:
        """The versions of a model that is gone, as far as anybody knows."""
        latest = Journal(self._repository).entries_of(model)[-1:]
        removed = {int(version) for entry in latest for version in entry.details.get("versions", ())}
        return removed | {self._newest.get(model) or 1}

    def _forget_refused(self, client: Client, models: Iterable[str]) -> None:
        """Let the server be ready that has refused what nobody wants of it any more: all that is wanted serves."""
        for name in models:
            with suppress(repo_client.RepoClientError):  # one that has ended remembers nothing
                server = ModelOnServer(client=client, name=name, timeout_s=self._load_timeout_s)
                if server.refused():
                    server.forget_refused(server.document() if server.versions() else {"name": name})

    def _request(self, model: str) -> RollOutRequest:
        return RollOutRequest(
            model=model,
            repository=self._repository.path,
            label=self._label if self._is_new(model) or self._lacks_label(model) else None,
            variant=self._variant,
            timeout_s=self._load_timeout_s,
            wait_s=_OTHERS_WAIT_S,
            abandon=self._abandon,
            explain=self._explain,
            trials=self._trials,
        )

    def _newest_version(self, model: str) -> int:
        with suppress(OSError):  # told when it is to be loaded
            return max(ModelDirectory(self._repository.path / model).versions(), default=0)
        return 0

    def _is_new(self, model: str) -> bool:
        """Whether a version has been published that was not rolled out yet."""
        return self._newest_version(model) > self._newest.get(model, 0)

    def _lacks_label(self, model: str) -> bool:
        if self._label is None or not self._is_followed(model):
            return False
        return self._label not in Labels.of(self._repository).versions(model)

    def _event(self, kind: EventKind, model: str, since: float, **what: Any) -> RepositoryEvent:
        return RepositoryEvent(kind=kind, model=model, seconds=time.monotonic() - since, **what)

    def _settle(self, event: RepositoryEvent, models: tuple[str, ...], files: Files) -> None:
        model, error = event.model, event.error
        if error is not None and self._is_only_away(model, error):
            if model not in self._waiting.told:
                self._waiting.told.add(model)
                self._tell(event)
            self._stopping.wait(_AWAY_S)
            return
        self._waiting.done(models)
        is_news = error is None or self._waiting.fail(model, _Failed(words=str(error), files=files))
        if error is None:
            self._waiting.settle(models)
            self._newest[model] = self._newest_version(model)
        if is_news and not (error and self._stopping.is_set()):
            self._tell(event)

    def _is_only_away(self, model: str, error: RepoToolError) -> bool:
        """Whether it is to be tried until it can be: not where the server has ended of it twice."""
        if isinstance(error, ServerUnreachableError | RollOutUnderWayError):
            return True
        if not isinstance(error, RollOutError) or not error.has_lost_server or model in self._waiting.lost:
            return False
        self._waiting.lost.add(model)
        return True
