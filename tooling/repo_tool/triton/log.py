# SPDX-License-Identifier: Apache-2.0
"""Reading the server's log file: while it grows, and for the line that says what went wrong."""

__all__ = ["LogLine", "ServerLog", "parse_line"]

import ctypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r'(?P<time>\S+Z) (?P<severity>[EWIV]) \d+ (?P<source>\S+:\d+)\] "?(?P<message>.*?)"?\s*$')
_GRPC_LINE = re.compile(r"(?P<severity>[EWI])\d{4} [\d:.]+ +\d+ (?P<source>\S+:\d+)\] +(?P<message>.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line; ``severity`` is E, W, I or V, and empty for what a model's own code printed, as is ``time``."""

    severity: str
    message: str
    time: str = ""  # ISO 8601, in UTC

    @property
    def is_error(self) -> bool:
        """Whether somebody who did not ask for the log wants to see it."""
        return self.severity == "E" and not self.is_noise

    @property
    def is_noise(self) -> bool:
        """Whether it tells of nothing that anybody could do anything about."""
        return any(noise in self.message for noise in _NOISE)


_LAST_BYTES = 64 * 1024
_KEPT_BYTES = 16 << 20  # of what was written last; old lines go once it is twice that
_PUNCH_HOLE = 0x1 | 0x2  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (linux/falloc.h)
_OF_LOADS = (b"loading: ", b"successfully loaded", b"successfully unloaded", b"failed to load")
_NOISE = (
    *("CudaDriverHelper", "CUDA memory pool disabled", "CUDA driver version"),  # every start without a GPU
    *("repo-tool-is-stopping", "repo-tool-is-loading"),  # models that have to be refused, so that it is not ready
    *("a refused version is forgotten", "Failed to set config modification time"),  # a roll-out that clears up
)


def parse_line(text: str) -> LogLine:
    """One line of Triton's ISO8601 log format, with the line breaks of its message restored."""
    match = _LINE.match(text) or _GRPC_LINE.match(text)
    if match is None:
        return LogLine(severity="", message=text.rstrip())
    message = match["message"].replace("\\n", "\n").replace('\\"', '"')
    return LogLine(severity=match["severity"], message=message, time=match.groupdict().get("time", ""))


class ServerLog:
    """The growing log file of one server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0  # of the lines that are kept
        path.touch(mode=0o600)

    @property
    def end(self) -> int:
        """How many bytes it holds now: the place to read on from later."""
        return self.path.stat().st_size

    def forget_old(self) -> None:
        """Give the room of old lines back to the file system; places in the log stay what they are.

        The server and its stubs write the file themselves, so that a refusal's reason is there when it is asked for:
        nobody could exchange the file under them. Where the file system cannot give back a part of a file (NFS before
        4.2), it grows on.
        """
        try:
            stream = self.path.open("r+b")
        except FileNotFoundError:  # the server was stopped meanwhile
            return
        with stream:
            if stream.seek(0, os.SEEK_END) < self._begin + 2 * _KEPT_BYTES:
                return
            stream.seek(-_KEPT_BYTES, os.SEEK_END)
            stream.readline()
            self._begin = stream.tell()
            ctypes.CDLL(None).fallocate(stream.fileno(), _PUNCH_HOLE, ctypes.c_int64(0), ctypes.c_int64(self._begin))

    def lines(self, start: int = 0) -> Iterator[LogLine]:
        """The whole lines from byte ``start`` on, as far as they are kept."""
        for _, line in self.lines_with_end(start):
            yield line

    def lines_with_end(self, start: int) -> Iterator[tuple[int, LogLine]]:
        """The whole lines from byte ``start`` on, each with the byte where the next one starts."""
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:  # the server was stopped meanwhile
            return
        with stream:
            start = stream.seek(max(start, self._begin))
            for raw in stream:
                if not raw.endswith(b"\n"):
                    return
                start += len(raw)
                yield start, parse_line(raw.decode("utf-8", errors="replace"))

    def tells_of_loads(self, start: int) -> tuple[int, bool]:
        """The end of the whole lines from byte ``start`` on, and whether models come or go in them."""
        with self.path.open("rb") as stream:
            start = stream.seek(max(start, self._begin))
            written = stream.read()
        end = written.rfind(b"\n") + 1
        return start + end, any(words in written[:end] for words in _OF_LOADS)

    def last(self) -> list[LogLine]:
        """The lines at its end, as many as a person may want to see."""
        try:
            start = max(0, self.end - _LAST_BYTES)
        except FileNotFoundError:  # the server was stopped meanwhile
            return []
        lines = list(self.lines(start))
        return lines[1:] if start else lines  # the first may be cut

    def last_words(self, count: int = 5) -> str:
        """The errors at its end; without any, whatever was written last."""
        lines = self._telling_lines()
        errors = [line for line in lines if line.is_error or line.message.lower().startswith("error")]
        return "\n".join(line.message for line in (errors or lines)[-count:])

    def last_lines(self, count: int) -> str:
        """Whatever was written last: after a crash, the stack that Triton prints."""
        return "\n".join(line.message for line in self._telling_lines()[-count:])

    def _telling_lines(self) -> list[LogLine]:
        lines = self.last()
        return [line for line in lines if line.message and line.message[0] not in "+|" and not line.is_noise]
