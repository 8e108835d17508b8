# SPDX-License-Identifier: Apache-2.0
"""The Python backend's stubs as processes: which model each serves, whether it moves, and how it ended."""

__all__ = [
    "Ending",
    "Stub",
    "dead_stubs_of",
    "ending_of",
    "memory_kills",
    "processor_ticks_of",
    "runs_own_code",
    "state_of",
    "stubs_of",
]

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_USER_TIME = 14 - 3
_EXIT_CODE = 52 - 3  # field 52 of /proc/<pid>/stat (proc(5)), counted after the state


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """One instance of one version of a model."""

    pid: int
    model: str
    version: str
    instance: str  # as Triton names it, of no use to tell its versions apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a process ended: by a signal, or with an exit code."""

    signal: int = 0
    exit_code: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether it ended as a stub does that its server has let go."""
        return not self.signal and not self.exit_code

    @property
    def words(self) -> str:
        """For people."""
        if self.signal:
            return f"it was ended by {_signal_name(self.signal)}"
        return f"it left with exit code {self.exit_code}"


def stubs_of(server: int) -> list[Stub]:
    """The stubs that a server started and that run."""
    return sorted((stub for process in _children_of(server) if (stub := _stub(process))), key=lambda stub: stub.pid)


def runs_own_code(stub: Stub) -> bool:
    """Whether a model brings its own code, which may have something to do when it ends, and is not a backend's."""
    with suppress(OSError):  # it has ended
        return (_PROC / str(stub.pid) / "cmdline").read_bytes().endswith(b"\0DEFAULT\0")
    return False


def dead_stubs_of(server: int) -> set[int]:
    """The processes of stubs that the server has not let go and that did not end in peace."""
    dead = set()
    for name in os.listdir(_PROC):  # noqa: PTH208 # as below
        if name.isdigit() and (fields := _stat(int(name))) and int(fields[1]) == server and fields[0] in "ZX":
            ending = ending_of(int(name))
            if ending is not None and not ending.is_clean:
                dead.add(int(name))
    return dead


def state_of(process: int) -> str:
    """The letter of its state as proc(5) has it, ``T`` for stopped, ``Z`` for ended; empty once it is gone."""
    fields = _stat(process)
    return fields[0] if fields else ""


def ending_of(process: int) -> Ending | None:
    """How a process ended whose parent did not ask yet; None when it runs, or is gone for good."""
    fields = _stat(process)
    if not fields or fields[0] not in "ZX":
        return None
    status = int(fields[_EXIT_CODE])
    return Ending(signal=status & 0x7F, exit_code=status >> 8)


def processor_ticks_of(process: int) -> int:
    """How long it has computed so far, in hundredths of a second."""
    fields = _stat(process)
    return int(fields[_USER_TIME]) + int(fields[_USER_TIME + 1]) if fields else 0


def memory_kills() -> int:
    """A number that grows when the kernel ends a process of ours for lack of memory, or another on this machine."""
    kills = 0
    for counter in _counters():
        with suppress(OSError):
            if match := _KILLS.search(counter.read_text()):
                kills += int(match[1])
    return kills


def _counters() -> Iterator[Path]:
    with suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield _CGROUPS / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield _CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
    yield _PROC / "vmstat"  # those of every group that we can see: an older kernel counts for each group alone


def _children_of(parent: int) -> Iterator[int]:
    for name in os.listdir(_PROC):  # noqa: PTH208 # every tick that finds news: no path for each process
        if name.isdigit() and (fields := _stat(int(name))) and int(fields[1]) == parent and fields[0] not in "ZX":
            yield int(name)


def _stub(process: int) -> Stub | None:
    try:
        words = (_PROC / str(process) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    if len(words) < 9 or not words[0].endswith("triton_python_backend_stub"):
        return None  # a shell that has yet to become one
    folders = Path(words[1]).parts[:-1]  # <repository>/<model>/<version>/<file>
    place = next((place for place in range(len(folders) - 1, 0, -1) if folders[place].isdigit()), 0)
    return Stub(pid=process, model=folders[place - 1], version=folders[place], instance=words[8]) if place else None


def _stat(process: int) -> list[str]:
    """The fields of its ``stat`` from the state on; empty when there is no such process."""
    try:
        return (_PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
