# SPDX-License-Identifier: Apache-2.0
"""One running server: its private folder, its keeper, its shared memory and its log, all of which end together."""

__all__ = ["KEY_HEADER", "ServerProcess"]

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from repo_tool.errors import EnvironmentUnfitError
from repo_tool.triton.environment import scrubbed
from repo_tool.triton.installation import Installation, assemble_backends
from repo_tool.triton.leftovers import claim
from repo_tool.triton.loading import MOST_LOADS_AT_ONCE
from repo_tool.triton.log import ServerLog
from repo_tool.triton.options import Ports, ServerOptions
from repo_tool.triton.ports import LOOPBACK

KEY_HEADER = "repo-tool-key"
SHELL_SAFE_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives
_STOP_LIMIT_S = 4.5


class ServerProcess:
    """Starts with its construction; ``stop`` leaves nothing of it behind."""

    def __init__(
        self, installation: Installation, repository: Path, options: ServerOptions, ports: Ports, *, control_key: str
    ) -> None:
        self._shm_prefix = f"repo-tool-{os.getpid()}-{token_hex(4)}-"
        self._control_key = control_key  # opens what is locked to HTTP and gRPC clients
        self._runtime = _private_folder()
        self._claim = claim(self._runtime, self._shm_prefix)
        self._keeper: subprocess.Popen[bytes] | None = None
        try:
            self.log = ServerLog(self._runtime / "server.log")
            limits = {"max_opset": options.max_opset, "max_ir_version": options.max_ir_version}
            assemble_backends(
                installation, self._runtime / "backends", {"onnxruntime": limits}, further=options.backends
            )
            command = [str(installation.server), *self._arguments(installation, repository, options, ports)]
            environment = scrubbed(os.environ, library_path=installation.library_path()) | dict(options.environment)
            self._keeper = self._start_keeper(command, environment, grace_s=options.graceful_stop_s)
        except BaseException:
            self._remove_folder()
            raise

    def is_running(self) -> bool:
        """Whether the server is there."""
        return self._keeper is not None and self._keeper.poll() is None

    def server_pid(self) -> int:
        """The process number of tritonserver, which the keeper starts."""
        return int((self._runtime / "server.pid").read_text())

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, or for ``timeout_s`` seconds."""
        if self._keeper is not None:
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(timeout_s)

    def stop(self, *, kill: bool) -> None:
        """End it, in Triton's order or at once, and remove its folder and its shared memory."""
        if self._keeper is not None:
            self._end_keeper(self._keeper, kill=kill)
        self._remove_folder()

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
            return subprocess.Popen(  # noqa: S603 - a list of our own making, no shell
                [*keeper, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=empty,  # the stub's Python looks for modules in its working directory first
                env=dict(environment),
                start_new_session=True,  # Ctrl-C in a terminal reaches us alone
                pass_fds=(self._claim,),
            )

    def _end_keeper(self, keeper: subprocess.Popen[bytes], *, kill: bool) -> None:
        with suppress(BrokenPipeError):
            if keeper.stdin is not None:
                keeper.stdin.write(b"K" if kill else b"")
                keeper.stdin.close()
        try:
            keeper.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        if keeper.returncode == -signal.SIGKILL:
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
        # Nobody on this machine needs these, unless told otherwise; in 2.51 they can be turned against the server.
        locked = "trace,logging" if options.shared_memory else "shared-memory,trace,logging"
        http_locked = locked if options.http_model_control else f"{locked},model-repository"
        key = f"{KEY_HEADER}={self._control_key}"
        return [
            *(f"--model-repository={self._shell_safe(path)}" for path in (repository, *options.beside)),
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            f"--backend-directory={self._runtime / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            *(f"--{service}-address={LOOPBACK}" for service in services),
            *(f"--{service}-port={port}" for service, port in services.items()),
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            "--allow-gpu-metrics=false",
            f"--http-restricted-api={http_locked}:{key}",
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
