# SPDX-License-Identifier: Apache-2.0
"""Many files at once, with what has arrived counted."""

__all__ = ["Counted", "send_all"]

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(slots=True, kw_only=True)
class Counted:
    """Files and bytes that have arrived, of those that are to; ``tell`` is given them in words."""

    files: int
    bytes: int
    tell: Callable[[str], None]
    _arrived: list[int] = field(default_factory=lambda: [0, 0])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arrived(self, count: int) -> None:
        """So many bytes more."""
        self._add(0, count)

    def file_arrived(self) -> None:
        """A file more is whole."""
        self._add(1, 0)

    def _add(self, files: int, count: int) -> None:
        with self._lock:
            self._arrived[0] += files
            self._arrived[1] += count
            done = f"{self._arrived[0]} of {self.files} files"
            self.tell(f"{done}, {in_words(self._arrived[1])} of {in_words(self.bytes)}")


def in_words(count: int) -> str:
    """A number of bytes for people, e.g. ``3.4 MiB``."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def send_all(tasks: Iterable[Callable[[], None]], *, at_once: int) -> None:
    """Do all of them, several at a time; the first that fails ends it, and those not yet begun are left."""
    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="repo-tool-transfer") as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
