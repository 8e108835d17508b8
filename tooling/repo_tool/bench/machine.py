# SPDX-License-Identifier: Apache-2.0
"""The machine that a figure was taken on; a figure without it says little. Its name is nobody's business."""

__all__ = ["Machine", "describe_machine"]

import os
import platform
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a reader needs to compare a figure with his own."""

    cpu: str
    cores: int  # that this process may run on
    memory_gib: float
    kernel: str
    gpus: tuple[str, ...]
    load_average: float  # over the last minute, before the first request

    def summary(self) -> str:
        """One line, for titles."""
        parts = [self.cpu, f"{self.cores} core{'s' * (self.cores != 1)}", f"{self.memory_gib:.0f} GiB"]
        return ", ".join(parts + [f"{count} x {gpu}" for gpu, count in Counter(self.gpus).items()])


def describe_machine() -> Machine:
    """The machine this process runs on, now."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        gpus=_gpus(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    names = _values(Path("/proc/cpuinfo"), "model name")
    return re.sub(r"\((R|TM)\)", "", names[0]) if names else platform.machine()


def _gpus() -> tuple[str, ...]:
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return tuple(name for file in files for name in _values(file, "Model"))


def _values(path: Path, key: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return re.findall(rf"^{re.escape(key)}\s*:\s*(.+?)\s*$", text, flags=re.MULTILINE)
