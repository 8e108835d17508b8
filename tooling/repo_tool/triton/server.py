# SPDX-License-Identifier: Apache-2.0
"""A real Triton on the loopback interface of this machine, as a ``with`` block."""

__all__ = ["EmbeddedServer"]

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Self

from repo_tool.config.model import ModelConfig
from repo_tool.config.shell import unsafe_shell_words
from repo_tool.errors import (
    ConfigError,
    LoadRefusedError,
    LoadTimeoutError,
    ModelNameError,
    RepoToolError,
    ServerStartError,
)
from repo_tool.repository.layout import ModelDirectory, ModelRepository, check_model_name, check_variant_name
from repo_tool.repository.pins import pins_of
from repo_tool.triton.control import ControlApi, ControlTimeoutError, ControlUnreachableError, Reply
from repo_tool.triton.installation import Installation, find_installation
from repo_tool.triton.leftovers import remove_leftovers
from repo_tool.triton.loading import Loader
from repo_tool.triton.log import ServerLog
from repo_tool.triton.notices import say_loaded
from repo_tool.triton.options import LoadOutcome, Ports, ServerOptions
from repo_tool.triton.ports import LOOPBACK, free_ports, refuse_port_in_use, refuse_shared_ports, url_host
from repo_tool.triton.process import KEY_HEADER, ServerProcess
from repo_tool.triton.refusals import cleaned, poll_failure
from repo_tool.triton.served import ServedModel, WantedModels

_POLL_S = 0.01
_UNLOADED_S = 3.0  # without requests under way it takes a second
_LEAST_OF_SIGNALS = 192  # the keeper leaves with the server's exit code modulo 256


class EmbeddedServer:
    """Serves a model repository; models are loaded when asked for, one by one.

    ``start`` may run in another thread than the rest, and models may be loaded whose directories appeared after it.
    The server, its stubs and their shared memory end with the ``with`` block, with ``stop``, and with this process,
    however it ends.
    """

    def __init__(self, repository: Path, options: ServerOptions | None = None) -> None:
        self.repository = repository
        self.options = options or ServerOptions()
        beside = tuple(ModelRepository(path) for path in self.options.beside)
        self._repositories = ModelRepository(repository, beside=beside)
        self._ports = Ports(http=0, grpc=0, metrics=0)
        self._process: ServerProcess | None = None
        self._control: ControlApi | None = None
        self._control_key = token_hex(16)
        self.wanted = WantedModels()  # what is to be there again after a restart
        self.left_out: dict[tuple[str, str], str] = {}  # model and version that had served and were refused, and why
        self._stopping = threading.Lock()
        self._ending = threading.Event()  # which also ends a restart under way

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        """Host and port for HTTP clients."""
        return f"{url_host(self.options.host)}:{self._ports.http}"

    @property
    def grpc_url(self) -> str:
        """Host and port for gRPC clients."""
        return f"{url_host(self.options.host)}:{self._ports.grpc}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus scrapes."""
        return f"http://{LOOPBACK}:{self._ports.metrics}/metrics"

    @property
    def control_headers(self) -> Mapping[str, str]:
        """What a request carries that may do what is locked to others; the same after a restart."""
        return MappingProxyType({KEY_HEADER: self._control_key})

    @property
    def room(self) -> Path:
        """A model repository of its own that it reads beside the served one, for models that are ours.

        Raises:
            ServerStartError: the server was not started, or was stopped.
        """
        return self._started_process().notices

    @property
    def log(self) -> ServerLog:
        """The server's log; its file goes with the server.

        Raises:
            ServerStartError: the server was not started, or was stopped.
        """
        return self._started_process().log

    def start(self) -> None:
        """Start the server and wait until it answers; no model is loaded yet.

        Raises:
            RepositoryError: a repository is no folder, or a model directory.
            ConfigError: ``model_config_name`` cannot be the name of a file in ``configs/``.
            UserMistakeError: two services were given one port.
            MissingExtraError: the wheel with Triton is not installed.
            EnvironmentUnfitError: this machine or environment cannot run it.
            PortInUseError: somebody listens on a port that was asked for.
            ServerStartError: it ended, or did not answer in time.
        """
        for each in (self._repositories, *self._repositories.beside):
            each.require()
        if self.options.model_config_name:
            check_variant_name(self.options.model_config_name)
        remove_leftovers()
        installation = find_installation()
        for last_attempt in (False, False, True):
            try:
                self._start_once(installation)
            except ServerStartError as error:
                if last_attempt or not self._lost_a_free_port(error):
                    raise
            else:
                return

    @property
    def pid(self) -> int:
        """The process number of tritonserver itself.

        Raises:
            ServerStartError: the server was not started, or was stopped.
        """
        return self._started_process().server_pid()

    def restart(self) -> None:
        """Start a server that has died once more, on the same ports and with the same key; no model is loaded yet.

        It is not ready until ``say_loaded``.

        Raises:
            PortInUseError: somebody listens on one of its ports meanwhile.
            ServerStartError: it ended, or did not answer in time, or was stopped before.
            OSError: there is no room for its files, or no process to be had.
        """
        with self._stopping:
            self._started_process().stop(grace_s=0)
            self._start_on(self._ports, find_installation(), is_held_back=True)

    def say_loaded(self) -> bool:
        """Let a server be ready that was started anew, as far as its models are; whether it could be told so.

        Raises:
            ServerStartError: the server is not running.
        """
        with self._naming_the_end_of_the_server():
            return say_loaded(self._started_control())

    def say_not_ready(self) -> None:
        """Let ``/v2/health/ready`` be 400 until the server is stopped, and serve on."""
        if self._process is not None:
            self._process.say_not_ready(timeout_s=max(0.1, self.options.graceful_stop_s / 4))

    def stop(self, *, grace_s: float | None = None) -> None:
        """End the server, its stubs and their shared memory; twice is once.

        Args:
            grace_s: for what was asked to be answered; None: as the options have it; 0: none, which ends a stop as well
                that is under way in this thread.
        """
        grace_s = self.options.graceful_stop_s if grace_s is None else grace_s
        self._ending.set()
        with self._stopping:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                self._process.stop(grace_s=grace_s)
            self._process = self._control = None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the server answers.

        Raises:
            ServerStartError: it ended, or did not answer within ``timeout_s`` seconds.
        """
        self._wait_until(self.is_ready, timeout_s)

    def _wait_until(self, answers: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if answers():
                return
            self.raise_if_ended()
            time.sleep(_POLL_S)
        raise ServerStartError(
            f"the embedded Triton did not answer within {timeout_s:g} s", cause=self.log.last_words()
        )

    def is_running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.is_running()

    def is_ready(self) -> bool:
        """Whether the server answers and every loaded model is available."""
        return self._is_well("ready")

    def is_live(self) -> bool:
        """Whether the server answers, be it ready or not."""
        return self._is_well("live")

    def _is_well(self, what: str) -> bool:
        try:
            return self._control is not None and self._control.get(f"/v2/health/{what}").status == 200
        except ControlUnreachableError:
            return False

    def exit_code(self, *, wait_s: float = 0.0) -> int | None:
        """The exit code of a server that has ended, or the signal that ended it as a negative number; else None."""
        if self._process is not None and wait_s:
            self._process.wait(wait_s)
        code = self._process.exit_code() if self._process is not None else None
        return code - 256 if code is not None and code > _LEAST_OF_SIGNALS else code

    def raise_if_ended(self) -> None:
        """Say why the server is not there any more.

        Raises:
            ServerStartError: it ended by itself, or was never started.
        """
        process = self._started_process()
        if not process.is_running():
            raise ServerStartError("the embedded Triton ended by itself", cause=process.log.last_words())

    def load(self, model: str) -> None:
        """Load a model directory of the repository, or load it again, and before it those that it calls by itself.

        Raises:
            ModelNameError: no name that Triton's shell may see.
            LoadRefusedError: Triton refused; ``cause`` holds its own words.
            LoadTimeoutError: it has not come to an end with it within the load time-out.
            ServerStartError: the server is not running.
        """
        for name in reversed(self._with_called([check_model_name(model)])):
            self._load_one(name)

    def _load_one(self, model: str) -> None:
        along = self._loaded_along(model)
        for directory in along:
            _check_shell_words(directory, self.options.model_config_name)
        log_end = self.log.end
        names = {directory.name for directory in along}
        self.wanted.add([model])
        reply = self._post(f"/v2/repository/models/{model}/load", is_taken=lambda: self._is_loading(names))
        # A load that finds nothing changed answers 200 whatever became of the model before, so ask the model.
        if reply.status == 200 and self._get(f"/v2/models/{model}/ready").status == 200:
            self.wanted.as_published(names)
            return
        raise LoadRefusedError(
            f"Triton refused to load the model {model!r}",
            cause=self._reason(reply, model, log_end),
            next_step=f"repo-tool validate names what to change in {model}/config.pbtxt",
        )

    def served(self, models: Collection[str] | None = None, *, is_wanted: bool = False) -> dict[str, ServedModel]:
        """The models (or those of ``models``) that serve, as they are served.

        With ``is_wanted`` just this is what comes back after a restart; nobody may be changing it meanwhile.

        Raises:
            LoadRefusedError: Triton does not tell, as when its repository is away.
            ServerStartError: the server is not running.
        """
        versions: dict[str, list[str]] = {}
        change, index = self.wanted.change, self._index()
        for entry in index:
            if entry.get("state") == "READY" and (models is None or entry["name"] in models):
                versions.setdefault(entry["name"], []).append(entry["version"])
        configs = {name: self._get(f"/v2/models/{name}/config") for name in versions}
        found = {
            name: ServedModel(name=name, versions=tuple(versions[name]), config=reply.json())
            for name, reply in configs.items()
            if reply.status == 200  # it was unloaded meanwhile otherwise
        }
        if models is None and is_wanted:
            self.wanted.found(found, unloaded=_unloaded(index), at=change)
        return found

    def load_served(self, served: ServedModel) -> None:
        """Load a model in the configuration and the versions that it is, or was, served in.

        Triton refuses all of them for one. Where none serves then, those are loaded that it would have taken: the
        others are in ``left_out``.

        Raises:
            LoadRefusedError: Triton refused; ``cause`` holds its own words.
            LoadTimeoutError: it has not come to an end with it within the load time-out.
            ServerStartError: the server is not running.
        """
        name = served.name
        log_end = self.log.end
        self.wanted.add([name], served)
        reply = self._load_as(served, log_end)
        ready = set(self.ready_versions(name))
        if reply.status != 200 or not ready.issuperset(served.versions):
            missing = sorted(set(served.versions) - ready)
            reason = self._reason(reply, name, log_end) or f"version {', '.join(missing)} is not ready"
            if ready or not (rest := self._load_untroubled(served)):
                raise LoadRefusedError(
                    f"Triton refused to load the model {name!r} again",
                    cause=reason,
                    next_step="look at the server's log",
                )
            self.left_out |= {(name, version): reason for version in served.versions if version not in rest}
            served = replace(served, versions=rest)
        self.wanted.put(served)

    def _load_as(self, served: ServedModel, log_end: int) -> Reply:
        body = json.dumps({"parameters": {"config": served.config_json}})
        is_taken = partial(self._began_to_load, served.name, log_end)
        return self._post(f"/v2/repository/models/{served.name}/load", body=body, is_taken=is_taken)

    def _load_untroubled(self, served: ServedModel) -> tuple[str, ...]:
        """Load the versions that were only let go because others were refused, once they are gone; those that serve."""
        deadline = time.monotonic() + _UNLOADED_S  # Triton 2.51 has ended where a load met what was on its way out
        while (states := self._states(served.name)) and "UNLOADING" in states.values() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        rest = tuple(version for version in served.versions if states.get(version) == "unloaded")
        if rest and rest != served.versions:
            self._load_as(replace(served, versions=rest), self.log.end)
        return self.ready_versions(served.name)

    def _states(self, model: str) -> dict[str, str]:
        """Of each version Triton's reason, or its state where it gives none."""
        entries = [entry for entry in self._index() if entry["name"] == model]
        return {entry.get("version", ""): entry.get("reason") or entry.get("state", "") for entry in entries}

    def unload(self, model: str) -> None:
        """Unload a model and wait until it is gone.

        Raises:
            ModelNameError: no name that Triton's shell may see.
            LoadRefusedError: Triton refused.
            ServerStartError: the server is not running.
        """
        check_model_name(model)
        reply = self._post(f"/v2/repository/models/{model}/unload")
        if reply.status != 200:
            raise LoadRefusedError(f"Triton refused to unload the model {model!r}", cause=cleaned(reply.error))
        self.wanted.drop(model)
        deadline = time.monotonic() + self.options.load_timeout_s
        while self.ready_versions(model) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def ready_versions(self, model: str) -> tuple[str, ...]:
        """The versions of a model that serve.

        Raises:
            ServerStartError: the server is not running.
        """
        return tuple(
            entry["version"] for entry in self._index() if entry["name"] == model and entry.get("state") == "READY"
        )

    def load_all(
        self,
        models: Sequence[str] | None = None,
        *,
        on_outcome: Callable[[LoadOutcome], None] | None = None,
        patience_s: float | None = None,
    ) -> list[LoadOutcome]:
        """Load every model directory (or ``models``), each by itself, so that a bad one is named and the others serve.

        ``models`` come with those that they call by themselves, which Triton loads for nobody. Ensembles come last.
        ``on_outcome`` hears of each model as it ends. A model that takes longer than ``patience_s`` does not hold up
        the rest: its outcome is that it is still loading, and ``on_outcome`` hears from another thread what became of
        it.

        Raises:
            ServerStartError: the server is not running.
        """
        names = sorted(self._with_called(models)) if models is not None else self._model_names()
        self.wanted.add(names)
        ensembles = [name for name in names if self.is_ensemble(name)]
        loader = Loader(self._outcome, patience_s=patience_s, on_outcome=on_outcome)
        outcomes = loader.run([name for name in names if name not in ensembles])
        blocked = [name for name in ensembles if loader.late & self._names_along(name)]
        outcomes += loader.run([name for name in ensembles if name not in blocked])
        for name in blocked:
            outcomes.append(_blocked(name, sorted(loader.late & self._names_along(name))))
            if on_outcome is not None:
                on_outcome(outcomes[-1])
        return sorted(outcomes, key=lambda outcome: outcome.model)

    def is_ensemble(self, model: str) -> bool:
        """Whether its configuration in the repository is that of an ensemble."""
        with suppress(LoadRefusedError):  # told when the model is loaded
            config = _read_config(self._repositories.nearest(model), self.options.model_config_name)
            return config is not None and config.is_ensemble
        return False

    def _model_names(self) -> list[str]:
        places = (self._repositories, *self._repositories.beside)
        return sorted({entry.name for each in places for entry in each.models()})

    def _names_along(self, model: str) -> set[str]:
        with suppress(LoadRefusedError, ModelNameError):  # told when it is loaded
            return {directory.name for directory in self._loaded_along(model)}
        return set()

    def _outcome(self, model: str) -> LoadOutcome:
        started = time.monotonic()
        refusal: RepoToolError | None = None
        versions: tuple[str, ...] = ()
        try:
            self._load_one(model)
            versions = self.ready_versions(model)
        except (LoadRefusedError, ModelNameError) as error:
            refusal = error
        return LoadOutcome(model=model, versions=versions, seconds=time.monotonic() - started, refusal=refusal)

    def _start_once(self, installation: Installation) -> None:
        self._ports = self._choose_ports()
        self._ending.clear()
        try:
            self._start_on(self._ports, installation)
        except BaseException:
            self.stop()
            raise

    def _start_on(self, ports: Ports, installation: Installation, *, is_held_back: bool = False) -> None:
        self._process = ServerProcess(
            installation,
            self.repository,
            self.options,
            ports,
            control_key=self._control_key,
            is_held_back=is_held_back,
        )
        headers = dict(self.control_headers)
        self._control = ControlApi(self.http_url, headers=headers, timeout_s=self.options.load_timeout_s)
        self._wait_until(self.is_live if is_held_back else self.is_ready, self.options.start_timeout_s)
        self._process.hide_key()

    def _choose_ports(self) -> Ports:
        options = self.options
        wanted = {"HTTP": options.http_port, "gRPC": options.grpc_port, "metrics": options.metrics_port}
        refuse_shared_ports(wanted)
        for purpose, port in wanted.items():
            if port:
                refuse_port_in_use(port, purpose=purpose, host=LOOPBACK if purpose == "metrics" else options.host)
        free = iter(free_ports(len(wanted)))
        http, grpc, metrics = (port or next(free) for port in wanted.values())
        return Ports(http=http, grpc=grpc, metrics=metrics)

    def _lost_a_free_port(self, error: ServerStartError) -> bool:
        """Whether somebody took a port between our choice and Triton's bind."""
        chosen_by_caller = (self.options.http_port, self.options.grpc_port, self.options.metrics_port)
        return 0 in chosen_by_caller and "already in use" in error.cause

    def _started_process(self) -> ServerProcess:
        if self._process is None:
            raise ServerStartError("the embedded Triton is not running", next_step="start() comes first")
        return self._process

    def _began_to_load(self, name: str, log_end: int) -> bool:
        """Whether the log has told so since; to the index a model is ready while it is loaded beside itself."""
        return any(line.message.startswith(f"loading: {name}:") for line in self.log.lines(log_end))

    def _is_loading(self, names: Collection[str]) -> bool:
        return any(entry["name"] in names and entry.get("state") == "LOADING" for entry in self._index())

    def _index(self) -> list[dict[str, str]]:
        reply = self._post("/v2/repository/index", is_taken=lambda: False)
        if reply.status != 200:
            raise LoadRefusedError("Triton does not tell what it has loaded", cause=cleaned(reply.error))
        entries: list[dict[str, str]] = reply.json()
        return entries

    def _post(self, path: str, *, body: str = "", is_taken: Callable[[], bool] = lambda: True) -> Reply:
        with self._naming_the_end_of_the_server():
            return self._started_control().post(path, body=body, is_taken=is_taken)

    def _get(self, path: str) -> Reply:
        with self._naming_the_end_of_the_server():
            return self._started_control().get(path)

    def _started_control(self) -> ControlApi:
        if self._control is None:
            raise ServerStartError("the embedded Triton is not running", next_step="start() comes first")
        return self._control

    @contextmanager
    def _naming_the_end_of_the_server(self) -> Iterator[None]:
        try:
            yield
        except ControlTimeoutError as error:
            self.raise_if_ended()
            raise LoadTimeoutError(
                "Triton does not come to an end with a model",
                cause=str(error),
                next_step="look what its code waits for",
            ) from error
        except ControlUnreachableError as error:
            self._started_process().wait(timeout_s=1.0)
            self.raise_if_ended()
            raise ServerStartError("the embedded Triton does not answer", cause=str(error)) from error

    def _loaded_along(self, model: str) -> list[ModelDirectory]:
        """The model's directory, and those of all that Triton loads with it when it is an ensemble."""
        found: dict[str, ModelDirectory] = {}
        wanted = [model]
        while wanted:
            directory = self._repositories.nearest(check_model_name(wanted.pop()))
            if directory.name not in found:
                found[directory.name] = directory
                config = _read_config(directory, self.options.model_config_name)
                wanted += [step.model_name for step in config.ensemble_steps] if config else []
        return list(found.values())

    def _with_called(self, models: Sequence[str]) -> list[str]:
        """``models`` and those that they call by themselves, also through others, as far as they are there."""
        found: dict[str, None] = {}
        waiting = list(models)
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = None
                waiting += self._called(name)
        return list(found)

    def _called(self, model: str) -> Iterator[str]:
        with suppress(LoadRefusedError, ModelNameError):  # told when it is loaded
            along = {directory.name: directory for directory in self._loaded_along(model)}
            for directory in along.values():
                config = _read_config(directory, self.options.model_config_name)
                for name in pins_of(config) if config else ():
                    if name not in along and self._repositories.nearest(check_model_name(name)).path.is_dir():
                        yield name

    def _reason(self, reply: Reply, model: str, log_end: int) -> str:
        if "failed to poll" not in reply.error:
            return cleaned(reply.error)
        return poll_failure(self.log.lines(log_end), model) or f"there is no model directory in {self.repository}"


def _unloaded(index: Iterable[Mapping[str, str]]) -> set[str]:
    """The models that somebody has unloaded: no version of theirs serves, loads, or was refused."""
    states: dict[str, set[tuple[str, str]]] = {}
    for entry in index:
        states.setdefault(entry["name"], set()).add((entry.get("state", ""), entry.get("reason", "")))
    gone, never_there = ("UNAVAILABLE", "unloaded"), ("", "")
    return {name for name, told in states.items() if gone in told and told <= {gone, never_there}}


def _blocked(ensemble: str, members: Sequence[str]) -> LoadOutcome:
    refusal = LoadRefusedError(
        f"the ensemble {ensemble!r} was not loaded", cause=f"its model {', '.join(members)} is still loading"
    )
    return LoadOutcome(model=ensemble, versions=(), seconds=0.0, refusal=refusal)


def _read_config(directory: ModelDirectory, variant: str) -> ModelConfig | None:
    """The configuration that Triton will read; None when there is none, which it refuses by itself.

    Raises:
        LoadRefusedError: it does not parse; what Triton might make of it all the same is not to be risked.
    """
    if not directory.served_config_path(variant).is_file():
        return None
    try:
        return directory.read_config(variant)
    except ConfigError as error:
        raise LoadRefusedError(
            f"the model {directory.name!r} was not loaded",
            cause=f"{error.fact}: {error.cause}",
            next_step=error.next_step,
        ) from error


def _check_shell_words(directory: ModelDirectory, variant: str) -> None:
    config = _read_config(directory, variant)
    words = unsafe_shell_words(config) if config else []
    if words:
        raise LoadRefusedError(
            f"the model {directory.name!r} was not loaded",
            cause=f"its configuration would put {words[0]!r} into a shell command (an instance group's name, "
            "EXECUTION_ENV_PATH or default_model_filename)",
            next_step=f"in {_told(directory, variant)} use letters, digits, '_', '.', '/' and '-' only for it",
        )


def _told(directory: ModelDirectory, variant: str) -> str:
    return directory.served_config_path(variant).relative_to(directory.path.parent).as_posix()
