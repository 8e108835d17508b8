# SPDX-License-Identifier: Apache-2.0
"""A real Triton on the loopback interface of this machine, as a ``with`` block."""

__all__ = ["EmbeddedServer", "LoadOutcome", "ServerOptions"]

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from repo_tool.errors import (
    EnvironmentUnfitError,
    LoadRefusedError,
    ModelNameError,
    RepositoryError,
    RepoToolError,
    ServerStartError,
)
from repo_tool.triton.control import ControlApi, ControlUnreachableError, Reply
from repo_tool.triton.environment import scrubbed
from repo_tool.triton.installation import Installation, assemble_backends, find_installation
from repo_tool.triton.log import LogLine, ServerLog
from repo_tool.triton.ports import LOOPBACK, free_ports, refuse_port_in_use

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHELL_SAFE_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_ENSEMBLE = re.compile(r'platform\s*:\s*["\']ensemble["\']|\bensemble_scheduling\b')
_STOP_LIMIT_S = 4.5
_LOADS_AT_ONCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is started; a port of 0 lets us choose a free one."""

    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    log_verbose: int = 0
    start_timeout_s: float = 30.0
    load_timeout_s: float = 600.0
    graceful_stop_s: float = 2.5  # for requests in flight; 0 kills at once, which is right when nobody else is served
    max_opset: int | None = None  # the newest ai.onnx opset that the release loads; None: what this ONNX Runtime loads
    max_ir_version: int | None = None
    response_cache_bytes: int = 0  # 0: models that ask for a response cache are refused
    environment: Mapping[str, str] = field(default_factory=dict)  # added to the scrubbed one


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    """What became of one model directory."""

    model: str
    versions: tuple[str, ...]
    seconds: float
    refusal: RepoToolError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the model serves."""
        return self.refusal is None

    @property
    def reason(self) -> str:
        """Why it does not serve; empty when it does."""
        return (self.refusal.cause or self.refusal.fact) if self.refusal else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "model": self.model,
            "versions": list(self.versions),
            "state": "READY" if self.is_ready else "UNAVAILABLE",
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    http: int
    grpc: int
    metrics: int


class EmbeddedServer:
    """Serves a model repository; models are loaded when asked for, one by one.

    ``start`` may run in another thread than the rest, and models may be loaded whose directories appeared after it.
    The server, its stubs and their shared memory end with the ``with`` block, with ``stop``, and with this process,
    however it ends.
    """

    def __init__(self, repository: Path, options: ServerOptions | None = None) -> None:
        self.repository = repository
        self.options = options or ServerOptions()
        self._ports = _Ports(http=0, grpc=0, metrics=0)
        self._runtime: Path | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log: ServerLog | None = None
        self._control: ControlApi | None = None
        self._stopping = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        """Host and port for HTTP clients."""
        return f"{LOOPBACK}:{self._ports.http}"

    @property
    def grpc_url(self) -> str:
        """Host and port for gRPC clients."""
        return f"{LOOPBACK}:{self._ports.grpc}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus scrapes."""
        return f"http://{LOOPBACK}:{self._ports.metrics}/metrics"

    @property
    def log(self) -> ServerLog:
        """The server's log; it goes with the server.

        Raises:
            ServerStartError: the server is not running.
        """
        if self._log is None:
            raise ServerStartError("the embedded Triton is not running", next_step="call start() first")
        return self._log

    def start(self) -> None:
        """Start the server and wait until it answers; no model is loaded yet.

        Raises:
            RepositoryError: the repository is no folder.
            MissingExtraError: the wheel with Triton is not installed.
            EnvironmentUnfitError: this machine or environment cannot run it.
            PortInUseError: somebody listens on a port that was asked for.
            ServerStartError: it ended, or did not answer in time.
        """
        if not self.repository.is_dir():
            raise RepositoryError(
                f"{self.repository} is no model repository",
                cause="there is no such folder",
                next_step="give the folder that holds the model directories, or add a model first",
            )
        installation = find_installation()
        for last_attempt in (False, False, True):
            try:
                self._start_once(installation)
            except ServerStartError as error:
                if last_attempt or not self._chose_a_taken_port(error):
                    raise
            else:
                return

    def stop(self) -> None:
        """End the server, its stubs and their shared memory, within five seconds; twice is once."""
        with self._stopping:
            if self._control is not None:
                self._control.close()
            if self._keeper is not None:
                _end_keeper(self._keeper, self._runtime, kill=self.options.graceful_stop_s <= 0)
            if self._runtime is not None:
                shutil.rmtree(self._runtime, ignore_errors=True)
            self._keeper = self._runtime = self._log = self._control = None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the server answers.

        Raises:
            ServerStartError: it ended, or did not answer within ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.is_ready():
                return
            self.raise_if_ended()
            time.sleep(0.01)
        raise ServerStartError(
            f"the embedded Triton did not answer within {timeout_s:g} s",
            cause=self._last_words(),
            next_step="look at the log with -v",
        )

    def is_running(self) -> bool:
        """Whether the server's process is there."""
        return self._keeper is not None and self._keeper.poll() is None

    def is_ready(self) -> bool:
        """Whether the server answers and every loaded model is available."""
        try:
            return self._api().get("/v2/health/ready").status == 200
        except ControlUnreachableError:
            return False

    def load(self, model: str) -> None:
        """Load a model directory of the repository, or load it again.

        Raises:
            ModelNameError: no name that Triton's shell may see.
            LoadRefusedError: Triton refused; ``cause`` holds its own words.
            ServerStartError: the server is not running any more.
        """
        _check_model_name(model)
        start = self.log.end
        reply = self._post(f"/v2/repository/models/{model}/load")
        if reply.status == 200 and self._get(f"/v2/models/{model}/ready").status == 200:
            return
        reason = self._poll_failure(model, start) if "failed to poll" in reply.error else _cleaned(reply.error)
        raise LoadRefusedError(
            f"Triton refused to load the model {model!r}",
            cause=reason,
            next_step=f"repo-tool validate names what to change in {model}/config.pbtxt",
        )

    def unload(self, model: str) -> None:
        """Unload a model and wait until it is gone.

        Raises:
            LoadRefusedError: Triton refused.
            ServerStartError: the server is not running any more.
        """
        _check_model_name(model)
        reply = self._post(f"/v2/repository/models/{model}/unload")
        if reply.status != 200:
            raise LoadRefusedError(f"Triton refused to unload the model {model!r}", cause=reply.error)
        deadline = time.monotonic() + self.options.load_timeout_s
        while self.ready_versions(model) and time.monotonic() < deadline:
            time.sleep(0.01)

    def ready_versions(self, model: str) -> tuple[str, ...]:
        """The versions of a model that serve.

        Raises:
            ServerStartError: the server is not running any more.
        """
        entries = self._post("/v2/repository/index").json()
        return tuple(entry["version"] for entry in entries if entry["name"] == model and entry.get("state") == "READY")

    def load_all(
        self, models: Sequence[str] | None = None, *, on_outcome: Callable[[LoadOutcome], None] | None = None
    ) -> list[LoadOutcome]:
        """Load every model directory (or ``models``), each by itself, so that a bad one is named and the others serve.

        Ensembles come last. ``on_outcome`` hears of each as it is done, from the thread that loaded it.

        Raises:
            ServerStartError: the server ended.
        """
        names = sorted(models) if models is not None else _model_directories(self.repository)
        ensembles = [name for name in names if _is_ensemble(self.repository / name)]
        singles = [name for name in names if name not in ensembles]
        outcomes: list[LoadOutcome] = []
        with ThreadPoolExecutor(max_workers=_LOADS_AT_ONCE) as pool:
            for group in (singles, ensembles):
                for outcome in pool.map(self._outcome, group):
                    outcomes.append(outcome)
                    if on_outcome is not None:
                        on_outcome(outcome)
        return sorted(outcomes, key=lambda outcome: outcome.model)

    def _outcome(self, model: str) -> LoadOutcome:
        started = time.monotonic()
        refusal: RepoToolError | None = None
        versions: tuple[str, ...] = ()
        try:
            self.load(model)
            versions = self.ready_versions(model)
        except (LoadRefusedError, ModelNameError) as error:
            refusal = error
        return LoadOutcome(model=model, versions=versions, seconds=time.monotonic() - started, refusal=refusal)

    def _start_once(self, installation: Installation) -> None:
        self._ports = self._choose_ports()
        try:
            self._launch(installation)
            self.wait_until_ready(self.options.start_timeout_s)
        except BaseException:
            self.stop()
            raise

    def _choose_ports(self) -> _Ports:
        wanted = {
            "HTTP": self.options.http_port,
            "gRPC": self.options.grpc_port,
            "metrics": self.options.metrics_port,
        }
        for purpose, port in wanted.items():
            if port:
                refuse_port_in_use(port, purpose=purpose)
        free = iter(free_ports(len(wanted)))
        http, grpc, metrics = (port or next(free) for port in wanted.values())
        return _Ports(http=http, grpc=grpc, metrics=metrics)

    def _chose_a_taken_port(self, error: ServerStartError) -> bool:
        options = self.options
        return (
            not (options.http_port and options.grpc_port and options.metrics_port) and "already in use" in error.cause
        )

    def _launch(self, installation: Installation) -> None:
        self._runtime = runtime = _private_folder()
        limits = {"max_opset": self.options.max_opset, "max_ir_version": self.options.max_ir_version}
        assemble_backends(installation, runtime / "backends", {"onnxruntime": limits})
        (runtime / "empty").mkdir()
        self._log = ServerLog(runtime / "server.log")
        self._control = ControlApi(self.http_url, timeout_s=self.options.load_timeout_s)
        prefix = f"repo-tool-{os.getpid()}-{token_hex(4)}-"
        command = [*_keeper_command(runtime, prefix, self.options.graceful_stop_s), str(installation.server)]
        with self._log.path.open("ab") as output:
            self._keeper = subprocess.Popen(  # noqa: S603 - a list, no shell; paths are ours
                [*command, *self._arguments(runtime, installation, prefix)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=runtime / "empty",  # the stub's Python looks for modules in its working directory first
                env=scrubbed(os.environ, library_path=installation.library_path()) | dict(self.options.environment),
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone
            )

    def _arguments(self, runtime: Path, installation: Installation, shm_prefix: str) -> list[str]:
        addresses = [
            f"--{service}-{key}={value}"
            for service, port in (
                ("http", self._ports.http),
                ("grpc", self._ports.grpc),
                ("metrics", self._ports.metrics),
            )
            for key, value in (("address", LOOPBACK), ("port", port))
        ]
        # Nobody on this machine needs these; in 2.51 they can be turned against the server.
        locked = f"shared-memory,trace,logging:repo-tool-key={token_hex(16)}"
        arguments = [
            f"--model-repository={_shell_safe(self.repository, runtime)}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-directory={runtime / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
            *addresses,
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            "--allow-gpu-metrics=false",
            f"--http-restricted-api={locked}",
            f"--grpc-restricted-protocol={locked}",
            "--strict-readiness=true",
            f"--exit-timeout-secs={max(1, int(self.options.graceful_stop_s))}",
            "--log-format=ISO8601",
            f"--log-verbose={self.options.log_verbose}",
        ]
        if self.options.response_cache_bytes:
            arguments += [
                f"--cache-directory={installation.caches}",
                f"--cache-config=local,size={self.options.response_cache_bytes}",
            ]
        return arguments

    def _api(self) -> ControlApi:
        if self._control is None:
            raise ControlUnreachableError("not started")
        return self._control

    def _post(self, path: str) -> Reply:
        with self._naming_the_end_of_the_server():
            return self._api().post(path)

    def _get(self, path: str) -> Reply:
        with self._naming_the_end_of_the_server():
            return self._api().get(path)

    @contextmanager
    def _naming_the_end_of_the_server(self) -> Iterator[None]:
        try:
            yield
        except ControlUnreachableError as error:
            self._wait_for_end(1.0)
            self.raise_if_ended()
            raise ServerStartError("the embedded Triton does not answer", cause=str(error)) from error

    def _wait_for_end(self, timeout_s: float) -> None:
        if self._keeper is not None:
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(timeout_s)

    def raise_if_ended(self) -> None:
        """Say why the server is not there any more.

        Raises:
            ServerStartError: it ended by itself.
        """
        if not self.is_running():
            raise ServerStartError(
                "the embedded Triton ended by itself",
                cause=self._last_words(),
                next_step="look at the log with -v",
            )

    def _last_words(self) -> str:
        return self._log.last_words() if self._log is not None else "it was not started"

    def _poll_failure(self, model: str, start: int) -> str:
        """Triton answers only "failed to poll"; the reason is in its log."""
        told = [line for line in self.log.lines(start) if line.is_error and f"'{model}'" in line.message]
        return _cleaned(_reason(told)) or f"there is no model directory {model!r} in {self.repository}"


def _keeper_command(runtime: Path, shm_prefix: str, grace_s: float) -> list[str]:
    keeper = Path(__file__).with_name("keeper.py")
    return [sys.executable, "-I", "-S", str(keeper), str(runtime), shm_prefix, f"{grace_s:g}"]


def _end_keeper(keeper: subprocess.Popen[bytes], runtime: Path | None, *, kill: bool) -> None:
    with suppress(BrokenPipeError):
        if keeper.stdin is not None:
            keeper.stdin.write(b"K" if kill else b"")
            keeper.stdin.close()
    try:
        keeper.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    if runtime is not None and keeper.returncode == -9:
        _end_what_the_keeper_left(runtime)


def _end_what_the_keeper_left(runtime: Path) -> None:
    with suppress(OSError, ValueError):
        os.killpg(int((runtime / "server.pid").read_text()), 9)


def _private_folder() -> Path:
    """A folder of mode 0700 that a shell may see and programs may run from."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes it private
        path = Path(parent)
        if path.is_dir() and _SHELL_SAFE_PATH.fullmatch(parent) and not os.statvfs(path).f_flag & os.ST_NOEXEC:
            return Path(tempfile.mkdtemp(prefix="repo-tool-", dir=path))
    raise EnvironmentUnfitError(
        "there is no folder that the embedded Triton can run from",
        cause="every temporary folder is mounted noexec or has a name that a shell would misread",
        next_step="set TMPDIR to a folder on a file system without noexec",
    )


def _shell_safe(repository: Path, runtime: Path) -> Path:
    """The repository under a name that Triton may put into a shell command."""
    absolute = repository.resolve()
    if _SHELL_SAFE_PATH.fullmatch(str(absolute)):
        return absolute
    link = runtime / "repository"
    link.symlink_to(absolute)
    return link


def _check_model_name(model: str) -> None:
    if MODEL_NAME.fullmatch(model):
        return
    raise ModelNameError(
        f"{model!r} is no model name",
        cause="Triton passes names to a shell: letters, digits, '_', '.' and '-' only, a letter or digit first",
        next_step="rename the model directory",
    )


def _model_directories(repository: Path) -> list[str]:
    return sorted(entry.name for entry in repository.iterdir() if entry.is_dir())


def _is_ensemble(directory: Path) -> bool:
    config = directory / "config.pbtxt"
    return config.is_file() and _ENSEMBLE.search(config.read_text(encoding="utf-8", errors="replace")) is not None


def _reason(lines: list[LogLine]) -> str:
    return lines[0].message if lines else ""


_WRAPPINGS = (
    re.compile(r"^load failed for model '[^']*': "),
    re.compile(r"^version \d+ is at UNAVAILABLE state: "),
    re.compile(r"^(?:Poll failed for model directory|failed to poll model) '[^']*': "),
    re.compile(r"^Internal: (?=TritonModelException: )"),
    re.compile(r"^TritonModelException: "),
    re.compile(r"\n\nAt:\n.*", re.DOTALL),
    re.compile(r"[;\s]+$"),
)


def _cleaned(words: str) -> str:
    """Triton's reason without what it wraps around it (its state machine, the stub's stack)."""
    for wrapping in _WRAPPINGS:
        words = wrapping.sub("", words)
    return words
