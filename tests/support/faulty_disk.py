# SPDX-License-Identifier: Apache-2.0
"""Programs on a disk that fails when it is told to, and what they did to it; ``faulty_disk.c`` does the work."""

import shutil
import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

SOURCE = Path(__file__).with_name("faulty_disk.c")
WAYS = ("kill", "torn", "EIO", "ENOSPC")
_WRITES = ("write", "writev", "pwrite", "pwrite64", "sendfile", "sendfile64", "copy_file_range")
_FREE = ("unlink", "unlinkat", "rmdir", "chmod", "fchmod", "chown", "utimensat")  # calls that need no space

Way = Literal["kill", "torn", "EIO", "ENOSPC", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """One call that changes something below the root, ``other`` for those that name two paths."""

    call: str
    path: str
    other: str
    worked: bool


def ways_of(touch: Touch) -> tuple[Way, ...]:
    """How a call can end: only a write is torn, and only what needs space finds none."""
    ways: tuple[Way, ...] = ("kill", "EIO")
    torn: tuple[Way, ...] = ("torn",) if touch.call in _WRITES else ()
    full: tuple[Way, ...] = ("ENOSPC",) if touch.call not in _FREE else ()
    return ways + torn + full


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a program ended, and what it and all it started did to the disk, in order."""

    exit_code: int
    words: str  # what it said on both streams
    touches: tuple[Touch, ...]
    has_failed: bool  # whether the disk did, as it was told to
    states: tuple[
        Path, ...
    ] = ()  # where it was watched: copies of the root, one before each touch that could be copied

    @property
    def was_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


def build_library(folder: Path) -> Path:
    """Compile it; without a compiler the test is skipped."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "faulty_disk.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def run_on_faulty_disk(
    command: Sequence[object],
    library: Path,
    *,
    root: Path,
    room: Path,
    at: int = 0,
    way: Way | Literal[""] = "",
    environment: Mapping[str, str],
) -> Run:
    """Run a program; its ``at``-th touch of what is below ``root`` fails.

    Args:
        command: The program.
        library: What ``build_library`` made.
        root: Below it the touches count; absolute, and not by a link.
        room: A folder of this run's own, outside of ``root``.
        at: Counted from 1; 0: none fails.
        way: How; with ``watch`` none fails, and the root is copied before each touch.
        environment: The program's.
    """
    own, trace = room / "disk.so", room / "trace"
    own.symlink_to(library)
    (room / "disk.so.settings").write_text(f"{root}\n{trace}\n{at}\n{way}\n")
    (room / "states").mkdir()
    done = subprocess.run(
        [str(word) for word in command],
        env={**environment, "LD_PRELOAD": str(own)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    _, fired, _ = struct.unpack_from("qqi", (room / "disk.so.state").read_bytes())
    touches = tuple(_touch(line) for line in trace.read_text().splitlines())
    states = sorted((room / "states").iterdir(), key=lambda state: int(state.name))
    return Run(
        exit_code=done.returncode, words=done.stdout, touches=touches, has_failed=bool(fired), states=tuple(states)
    )


def _touch(line: str) -> Touch:
    _, call, path, other, result = line.split("\t")
    return Touch(call=call, path=path, other=other, worked=result == "ok")
