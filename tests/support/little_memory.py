# SPDX-License-Identifier: Apache-2.0
"""A control group in which the kernel ends a process that takes more than a little memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIMIT = str(300 << 20)
_GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def little_memory() -> Iterator[Path]:
    """The file that takes the number of a process which is to have little.

    Raises:
        OSError: this machine lets us have no such group.
    """
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    first = next((path for _, controllers, path in lines if controllers == "memory"), None)
    base, limit = (_GROUPS / "memory", "memory.limit_in_bytes") if first else (_GROUPS, "memory.max")
    path = first or next(path for _, controllers, path in lines if not controllers)
    group = base / path.lstrip("/") / f"repo-tool-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(_LIMIT)
        yield group / "cgroup.procs"
    finally:
        group.rmdir()
