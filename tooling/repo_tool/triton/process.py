# SPDX-License-Identifier: Apache-2.0
"""One running server: its private folder, its keeper, its shared memory and its log, all of which end together."""

__all__ = ["KEY_HEADER", "ServerProcess"]

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from repo_tool.errors import EnvironmentUnfitError
from repo_tool.triton.drain import Drained, drain
from repo_tool.triton.environment import scrubbed
from repo_tool.triton.exposure import check_exposure, locked_apis
from repo_tool.triton.installation import Installation, assemble_backends
from repo_tool.triton.leftovers import claim
from repo_tool.triton.loading import MOST_LOADS_AT_ONCE
from repo_tool.triton.log import ServerLog
from repo_tool.triton.notices import IS_LOADING, say_not_ready, write_loading_notice
from repo_tool.triton.options import Ports, ServerOptions
from repo_tool.triton.ports import LOOPBACK, host_for_us
from repo_tool.triton.sockets import established
from repo_tool.triton.stub_processes import runs_own_code, stubs_of

KEY_HEADER = "repo-tool-key"
SHELL_SAFE_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives
_KEEPER_LIMIT_S = 1.5  # for what the keeper does after the server's end
_FINALIZE_LIMIT_S = 3.0  # for the models' own ends, once nobody waits for an answer
_DRAIN_SHARE = 0.75  # of the time to stop in order


class ServerProcess:
    """Starts with its construction; ``stop`` leaves nothing of it behind."""

    def __init__(
        self,
        installation: Installation,
        repository: Path,
        options: ServerOptions,
        ports: Ports,
        *,
        control_key: str,
        is_held_back: bool = False,  # it is not ready until ``notices.say_loaded``
    ) -> None:
        self._shm_prefix = f"repo-tool-{os.getpid()}-{token_hex(4)}-"
        self._control_key = control_key  # opens what is locked to HTTP and gRPC clients
        check_exposure(options)
        self._options = options
        self._ports = ports
        self._runtime = _private_folder()
        self._claim = claim(self._runtime, self._shm_prefix)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._not_ready_since: float | None = None
        try:
            self.log = ServerLog(self._runtime / "server.log")
            limits = {"max_opset": options.max_opset, "max_ir_version": options.max_ir_version}
            assemble_backends(
                installation, self._runtime / "backends", {"onnxruntime": limits}, further=options.backends
            )
            command = [str(installation.server), *self._arguments(installation, repository, options, ports)]
            self.notices.mkdir()
            if is_held_back:
                write_loading_notice(self.notices)
                command += [f"--load-model={IS_LOADING}", "--exit-on-error=false"]
            environment = scrubbed(os.environ, library_path=installation.library_path()) | dict(options.environment)
            self._keeper = self._start_keeper(command, environment, grace_s=options.graceful_stop_s)
        except BaseException:
            self._remove_folder()
            raise

    def is_running(self) -> bool:
        """Whether the server is there."""
        return self._keeper is not None and self._keeper.poll() is None

    def exit_code(self) -> int | None:
        """What the keeper says of the server's end: above 192 it is 256 less a signal's number; None before the end."""
        return self._keeper.poll() if self._keeper is not None else None

    def server_pid(self) -> int:
        """The process number of tritonserver, which the keeper starts."""
        return int((self._runtime / "server.pid").read_text())

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, or for ``timeout_s`` seconds."""
        if self._keeper is not None:
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(timeout_s)

    @property
    def notices(self) -> Path:
        """A model repository of our own: a model in it that Triton refuses to load makes the server not ready."""
        return self._runtime / "notices"

    def hide_key(self) -> None:
        """Remove the key from what other users of this machine can read, once the server has answered."""
        self._tell_keeper("R")

    def say_not_ready(self, *, timeout_s: float) -> None:
        """Let readiness be 400 from now on, and serve on; once said it stays so."""
        if self._not_ready_since is None and self.is_running():
            self._not_ready_since = time.monotonic()
            address = f"{host_for_us(self._options.host)}:{self._ports.http}"
            say_not_ready(self.notices, address, {KEY_HEADER: self._control_key}, timeout_s=timeout_s)

    def stop(self, *, grace_s: float) -> Drained | None:
        """End it in order within ``grace_s`` seconds, 0: at once; remove its folder and its shared memory.

        In order: it says that it is not ready, what was asked is answered, connections are closed, Triton stops.
        A second Ctrl-C meanwhile ends it at once.

        Returns:
            What became of the connections; None where the server ended by itself, was killed, or nobody may look at
            its connections: it then waits for its clients to close them.
        """
        deadline = time.monotonic() + grace_s
        try:
            drained = self._drain(deadline) if grace_s and self.is_running() else None
            left_s = max(0.0, deadline - time.monotonic())
            self._end_keeper(grace_s=min(left_s, self._models_need_s(drained)) if drained else left_s)
        except BaseException:
            self._kill_keeper()
            raise
        finally:
            self._remove_folder()
        return drained

    def _drain(self, deadline: float) -> Drained | None:
        grace_s = deadline - time.monotonic()
        self.say_not_ready(timeout_s=grace_s / 4)
        with suppress(OSError, ValueError):
            return drain(
                self.server_pid(),
                self._ports,
                host=host_for_us(self._options.host),
                notice_s=self._notice_left_s(),
                deadline=deadline - (1 - _DRAIN_SHARE) * min(grace_s, 8.0),
            )
        return None

    def _models_need_s(self, drained: Drained) -> float:
        """For their own ends: Triton takes a second for each stub, and those of our backends have nothing to do."""
        with suppress(OSError, ValueError):  # the server has ended
            server = self.server_pid()
            is_idle = not drained.left and not established(server, self._ports.grpc)
            if is_idle and not self._options.backends and not any(map(runs_own_code, stubs_of(server))):
                return 0.0
        return _FINALIZE_LIMIT_S

    def _notice_left_s(self) -> float:
        notice_s = self._options.notice_s
        notice_s = self._options.graceful_stop_s / 30 if notice_s is None else notice_s
        since = self._not_ready_since
        return notice_s if since is None else max(0.0, notice_s - (time.monotonic() - since))

    def _remove_folder(self) -> None:
        shutil.rmtree(self._runtime, ignore_errors=True)
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def _start_keeper(
        self, command: Sequence[str], environment: Mapping[str, str], *, grace_s: float
    ) -> subprocess.Popen[bytes]:
        empty = self._runtime / "empty"
        empty.mkdir()
        (self._runtime / "env").mkdir()  # where the Python backend unpacks what EXECUTION_ENV_PATH names
        script = Path(__file__).with_name("keeper.py")
        keeper = [sys.executable, "-I", "-S", str(script), str(self._runtime), self._shm_prefix, f"{grace_s:g}"]
        with self.log.path.open("ab") as output:
            started = subprocess.Popen(  # noqa: S603 - a list of our own making, no shell
                keeper,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=empty,  # the stub's Python looks for modules in its working directory first
                env=dict(environment),
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone
                pass_fds=(self._claim,),
            )
        if started.stdin is not None:
            started.stdin.write(json.dumps(command).encode() + b"\n")
            started.stdin.flush()
        return started

    def _end_keeper(self, *, grace_s: float) -> None:
        if self._keeper is None or self._keeper.stdin is None:
            return
        self._tell_keeper(f"{grace_s:.3f}")
        with suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(grace_s + _KEEPER_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._kill_keeper()
        if self._keeper.returncode == -signal.SIGKILL:
            self._end_what_the_keeper_left()

    def _tell_keeper(self, words: str) -> None:
        with suppress(BrokenPipeError):
            if self._keeper is not None and self._keeper.stdin is not None and not self._keeper.stdin.closed:
                self._keeper.stdin.write(words.encode())
                self._keeper.stdin.flush()

    def _kill_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()
            self._end_what_the_keeper_left()

    def _end_what_the_keeper_left(self) -> None:
        with suppress(OSError, ValueError):
            os.killpg(self.server_pid(), signal.SIGKILL)
        for region in _SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)

    def _arguments(
        self, installation: Installation, repository: Path, options: ServerOptions, ports: Ports
    ) -> list[str]:
        services = {"http": ports.http, "grpc": ports.grpc, "metrics": ports.metrics}
        locked = ",".join(locked_apis(options))
        key = f"{KEY_HEADER}={self._control_key}"
        return [
            *(f"--model-repository={self._shell_safe(path)}" for path in (repository, *options.beside, self.notices)),
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-directory={self._runtime / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            f"--http-address={options.host}",
            f"--grpc-address={options.host}",
            f"--metrics-address={LOOPBACK}",
            *(f"--{service}-port={port}" for service, port in services.items()),
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            "--allow-gpu-metrics=false",
            f"--http-restricted-api={locked}:{key}",
            f"--grpc-restricted-protocol={locked}:{key}",
            "--strict-readiness=true",
            f"--model-load-thread-count={MOST_LOADS_AT_ONCE + 2}",  # one that hangs keeps its thread for good
            f"--exit-timeout-secs={max(1, int(options.graceful_stop_s))}",
            "--log-format=ISO8601",
            f"--log-verbose={options.log_verbose}",
            *([f"--model-config-name={options.model_config_name}"] if options.model_config_name else ()),
            *_cache_arguments(installation, options),
        ]

    def _shell_safe(self, repository: Path) -> Path:
        """The repository under a name that Triton may put into a shell command."""
        absolute = repository.resolve()
        if SHELL_SAFE_PATH.fullmatch(str(absolute)):
            return absolute
        links = self._runtime / "repositories"
        links.mkdir(exist_ok=True)
        link = links / str(len(list(links.iterdir())))
        link.symlink_to(absolute)
        return link


def _cache_arguments(installation: Installation, options: ServerOptions) -> list[str]:
    if not options.response_cache_bytes:
        return []
    return [
        f"--cache-directory={installation.caches}",
        f"--cache-config=local,size={options.response_cache_bytes}",
    ]


def _private_folder() -> Path:
    """A folder of mode 0700 that a shell may see and programs may run from."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes it private
        path = Path(parent)
        if path.is_dir() and SHELL_SAFE_PATH.fullmatch(parent) and not os.statvfs(path).f_flag & os.ST_NOEXEC:
            return Path(tempfile.mkdtemp(prefix="repo-tool-", dir=path))
    raise EnvironmentUnfitError(
        "there is no folder that the embedded Triton can run from",
        cause="every temporary folder is mounted noexec or has a name that a shell would misread",
        next_step="set TMPDIR to a folder on a file system without noexec",
    )
