# SPDX-License-Identifier: Apache-2.0
"""The process between repo-tool and tritonserver: it outlives both, so that nothing else does.

Run as a script: ``keeper.py RUNTIME_FOLDER SHM_PREFIX GRACE_S COMMAND...`` (standard library only, no site-packages).
Its standard input is a pipe from repo-tool. End of file there, however it came about (stop, Ctrl-C, ``kill -9``), ends
the server and its stubs and removes their shared memory; the runtime folder too when repo-tool is not there to do it.
A number on the pipe is the grace in seconds that is left then, e.g. "0.000" for none.
"""

import ctypes
import os
import resource
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_CHECK_S = 0.5


def main(runtime: Path, shm_prefix: str, grace_s: float, command: list[str]) -> int:
    """Start the server, wait for its end or for ours, and leave nothing behind; returns the server's exit code."""
    parent = os.getppid()
    wakeup = _wake_on_child_exit()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = _start(command)
    (runtime / "server.pid").write_text(str(server))
    left_s = _wait(server, wakeup, parent)
    code = _end(server, grace_s=grace_s if left_s is None else left_s)
    _remove_shared_memory(shm_prefix)
    if os.getppid() != parent:
        shutil.rmtree(runtime, ignore_errors=True)
    return code


def _wake_on_child_exit() -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    return reader


def _start(command: list[str]) -> int:
    process = os.fork()
    if process:
        with suppress(OSError):  # the child does the same; whoever comes second fails
            os.setpgid(process, process)
        return process
    try:
        for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(restored, signal.SIG_DFL)
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)  # noqa: S606 - no shell is what we want
    finally:
        os._exit(127)


def _wait(server: int, wakeup: int, parent: int) -> float | None:
    """Until the server exits, the pipe ends or the parent is gone; the grace in seconds that repo-tool asks for."""
    while _is_running(server) and os.getppid() == parent:
        readable, _, _ = select.select([0, wakeup], [], [], PARENT_CHECK_S)
        if wakeup in readable:
            os.read(wakeup, 4096)
        if 0 in readable:
            asked = os.read(0, 32)
            return float(asked) if asked else None
    return None


def _is_running(process: int) -> bool:
    """Whether it still runs; it stays a zombie afterwards, so that its number is not given to another."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _end(server: int, *, grace_s: float) -> int:
    deadline = time.monotonic() + grace_s
    if grace_s and _is_running(server):
        os.kill(server, signal.SIGTERM)
    while time.monotonic() < deadline and _is_running(server):
        time.sleep(0.01)
    os.killpg(server, signal.SIGKILL)  # the stubs are in its process group; the zombie keeps the group alive
    _, status = os.waitpid(server, 0)
    _reap_orphans()
    return os.waitstatus_to_exitcode(status)


def _reap_orphans() -> None:
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
        except ChildProcessError:
            return


def _remove_shared_memory(prefix: str) -> None:
    for region in Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108 - POSIX shared memory lives there
        region.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]) % 256)
