# SPDX-License-Identifier: Apache-2.0
"""The process between repo-tool and tritonserver: it outlives both, so that nothing else does.

Run as a script: ``keeper.py RUNTIME_FOLDER SHM_PREFIX GRACE_S`` (standard library only, no site-packages).
Its standard input is a pipe from repo-tool, whose first line is the server's command as a JSON list: arguments can be
read by every user of the machine, and one of these is a key. The letter "R" on the pipe says that the server has read
them, so that the key can be removed from its memory, too.
End of file there, however it came about (stop, Ctrl-C, ``kill -9``), ends the server and its stubs and removes their
shared memory; the runtime folder too when repo-tool is not there to do it. A number on the pipe is the grace in seconds
that is left then, e.g. "0.000" for none.
"""

import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
IN_ATTRIB, IN_CREATE = 0x4, 0x100
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - POSIX shared memory lives there
KEY = re.compile(rb"repo-tool-key=([0-9a-f]+)")
PARENT_CHECK_S = 0.5


def main(runtime: Path, shm_prefix: str, grace_s: float) -> int:
    """Start the server, wait for its end or for ours, and leave nothing behind; returns the server's exit code."""
    parent = os.getppid()
    wakeup = _wake_on_child_exit()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.umask(0o077)
    new_regions = _watch_shared_memory()
    server = _start(_read_command())
    (runtime / "server.pid").write_text(str(server))
    left_s = _wait(server, {wakeup: _drop, new_regions: lambda regions: _close_regions(regions, shm_prefix)}, parent)
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


def _read_command() -> list[str]:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 1 << 16)
        if not more:
            sys.exit(1)
        line += more
    return [str(word) for word in json.loads(line)]


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
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # One byte means no dump, neither to a file nor to a program; zero bytes mean none to a file (fs/coredump.c).
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)  # noqa: S606 - no shell is what we want
    finally:
        os._exit(127)


def _wait(server: int, events: dict[int, Callable[[bytes], None]], parent: int) -> float | None:
    """Until the server exits, the pipe ends or the parent is gone; the grace in seconds that repo-tool asks for."""
    while _is_running(server) and os.getppid() == parent:
        readable, _, _ = select.select([0, *events], [], [], PARENT_CHECK_S)
        for descriptor in events.keys() & set(readable):
            events[descriptor](os.read(descriptor, 1 << 16))
        if 0 in readable:
            asked = os.read(0, 32)
            if asked.startswith(b"R"):
                _hide_key(server)
            if asked != b"R":
                return float(asked.removeprefix(b"R")) if asked else None
    return None


def _drop(_: bytes) -> None:
    """The wake-up itself is all there is to it."""


def _hide_key(server: int) -> None:
    """Write over the key in the arguments as ``/proc/PID/cmdline`` tells them to everybody; Triton has its own copy."""
    with suppress(OSError), Path(f"/proc/{server}/mem").open("r+b", buffering=0) as memory:
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, counted after the name: proc(5)
        memory.seek(start)
        for found in KEY.finditer(memory.read(end - start)):
            memory.seek(start + found.start(1))
            memory.write(b"x" * len(found[1]))


def _watch_shared_memory() -> int:
    libc = ctypes.CDLL(None)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    libc.inotify_add_watch(descriptor, os.fsencode(SHARED_MEMORY), IN_CREATE | IN_ATTRIB)
    return descriptor


def _close_regions(events: bytes, prefix: str) -> None:
    """Take from other users what the Python backend gives them: it sets the mode 0644 whatever the umask says."""
    while events:
        (length,) = struct.unpack_from("I", events, 12)
        name = os.fsdecode(events[16 : 16 + length].rstrip(b"\0"))
        events = events[16 + length :]
        with suppress(OSError):  # gone meanwhile
            region = SHARED_MEMORY / name
            if name.startswith(prefix) and region.stat().st_mode & 0o077:
                region.chmod(0o600)


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
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])) % 256)
