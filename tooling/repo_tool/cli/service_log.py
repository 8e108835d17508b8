# SPDX-License-Identifier: Apache-2.0
"""What a service says while it runs, on standard error: its own events and the server's log, for people or machines."""

__all__ = ["LogFormat", "ServiceLog"]

import json
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from repo_tool.triton.log import LogLine
    from repo_tool.workflows.serve_repository import ServiceEvent

_STYLES = {"E": "red", "W": "yellow", "I": "dim", "V": "dim"}
_SEVERITIES = {"E": "error", "W": "warning", "I": "info", "V": "verbose", "": "output"}
_MOST_WAITING = 10_000  # lines
_PATIENCE_S = 0.5  # at the end, with a reader that takes nothing


class LogFormat(StrEnum):
    """For whom the log is written."""

    TEXT = "text"
    JSON = "json"


class ServiceLog:
    """Each event and each line of the server's as one line; without ``verbose`` of the server's the errors alone.

    Written in a thread of its own for as long as the block: whoever tells waits for no reader (a pager, a terminal
    that was stopped). Lines are lost where very many wait.
    """

    def __init__(self, log_format: LogFormat, *, verbose: bool) -> None:
        self.is_verbose = verbose
        self._as_json = log_format is LogFormat.JSON
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._writer = threading.Thread(target=self._write_what_waits, name="log", daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._put(None)
        self._writer.join(_PATIENCE_S)

    def show(self, line: "LogLine") -> None:
        """A line that the server has logged."""
        if not (self.is_verbose or line.is_error):
            return
        if self._as_json:
            severity = _SEVERITIES.get(line.severity, line.severity)
            facts = {"time": line.time or _now(), "source": "triton", "severity": severity, "message": line.message}
            self._put(partial(_write, facts))
        else:
            self._put(partial(_print, ("triton ", "dim"), (line.message, _STYLES.get(line.severity, ""))))

    def tell(self, event: "ServiceEvent") -> None:
        """Something that happened to the server or the repository, and the end of the log where it tells why."""
        facts = event.to_dict()
        if self._as_json:
            self._put(partial(_write, {"time": _now(), "source": "repo-tool", **facts}))
            return
        style = "bold red" if _is_bad(facts) else "green"
        self._put(partial(_print, (f"{datetime.now():%H:%M:%S} ", "dim"), (event.words, style)))
        for line in str(facts.get("last_words") or "").splitlines():
            self._put(partial(_print, ("  | ", "dim"), (line, "red")))

    def remark(self, words: str) -> None:
        """Something for a person who sits before it."""
        self._put(partial(_print, (words, "dim")))

    def _put(self, write: Callable[[], None] | None) -> None:
        with suppress(queue.Full):
            self._waiting.put_nowait(write)

    def _write_what_waits(self) -> None:
        while (write := self._waiting.get()) is not None:
            write()


def _print(*parts: tuple[str, str]) -> None:
    from rich.text import Text

    from repo_tool.cli.console import error_console
    from repo_tool.printable import printable_lines

    shown = ((printable_lines(words), style) for words, style in parts)
    error_console().print(Text.assemble(*shown), soft_wrap=True)


def _is_bad(facts: Mapping[str, object]) -> bool:
    return "error" in facts or bool(facts.get("is_bad"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(facts: Mapping[str, object]) -> None:
    sys.stderr.write(json.dumps(facts) + "\n")
