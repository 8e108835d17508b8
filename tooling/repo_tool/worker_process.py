# SPDX-License-Identifier: Apache-2.0
"""A process of ours that runs somebody else's code behind walls, until it ends or its time is up."""

__all__ = ["left_by_worker", "run_worker", "what_it_died_of"]

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from repo_tool.environment import without_credentials
from repo_tool.sandbox import memory_limit

_LOG_BYTES, _LOG_LINES = 2**12, 8
_POLL_S = 0.1
_MOST_BYTES = 64 << 20  # of an answer, which may repeat what it was asked about


def run_worker(
    worker: Sequence[str],
    folder: Path,
    log: IO[bytes],
    *,
    timeout_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """The exit status of ``python <worker> <our process id> <folder> <bytes of memory> <seconds of processor time>``.

    Whatever it started ends with it. It may write in ``folder`` only, if it puts up its walls. ``meanwhile`` is called
    again and again until it ends.

    Raises:
        TimeoutError: it took longer than ``timeout_s``.
    """
    # -P: a file in the caller's folder called like a package must not shadow it.
    command = [sys.executable, "-P", *worker, str(os.getpid()), str(folder), str(memory_limit())]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
        [*command, str(int(timeout_s * (os.cpu_count() or 1)) + 1)],
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return _wait(process, timeout_s, meanwhile)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"it took longer than {timeout_s:g} s") from error
    finally:
        with suppress(ProcessLookupError):  # the group also holds what the code may have started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], timeout_s: float, meanwhile: Callable[[], None]) -> int:
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > _POLL_S:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_S)
        meanwhile()
    return process.wait(max(left, 0.0))


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return without_credentials(os.environ) | kept | {"TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def what_it_died_of(status: int, log: IO[bytes]) -> str:
    """How a worker ended that left no answer, with the last lines that it printed."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    lines = log.read().decode("utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    ended = f"it ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"
    return "\n".join([f"{ended}; the last it printed:", *(f"  {line}" for line in lines)]) if lines else ended


def left_by_worker(path: Path) -> bytes | None:
    """What a worker wrote in a file; None where it left something else, say a link elsewhere or an endless pipe."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(opened, "rb") as stream:
        facts = os.fstat(opened)
        return stream.read(_MOST_BYTES) if stat.S_ISREG(facts.st_mode) and facts.st_size <= _MOST_BYTES else None
