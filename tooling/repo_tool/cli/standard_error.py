# SPDX-License-Identifier: Apache-2.0
"""Standard error that fails nobody: what its reader does not take is lost, and nothing else is."""

__all__ = ["unfailing"]

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unfailing(io.FileIO):
    """A file whose writes all succeed: a reader that has gone, or a disk that is full, is no error to the writer."""

    def write(self, data: "ReadableBuffer", /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        with suppress(OSError):
            while rest and (written := super().write(rest)):  # None where it would have to wait
                rest = rest[written:]
        return size


def unfailing(stream: TextIO | None) -> TextIO:
    """What ``stream`` writes to, as one that nothing fails on; nowhere, where there is no stream (``2>&-``).

    It has no buffer, whose lock a thread would hold that waits for a reader, and keep the process from its end.
    """
    raw = _Unfailing(os.devnull, "wb") if stream is None else _Unfailing(stream.fileno(), "wb", closefd=False)
    encoding = "utf-8" if stream is None else stream.encoding
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)
