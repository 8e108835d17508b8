# SPDX-License-Identifier: Apache-2.0
"""What a service says while it runs, on standard error: its own events and the server's log, for people or machines."""

__all__ = ["LogFormat", "ServiceLog"]

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repo_tool.triton.log import LogLine
    from repo_tool.workflows.serve_repository import ServiceEvent

_STYLES = {"E": "red", "W": "yellow", "I": "dim", "V": "dim"}
_SEVERITIES = {"E": "error", "W": "warning", "I": "info", "V": "verbose", "": "output"}


class LogFormat(StrEnum):
    """For whom the log is written."""

    TEXT = "text"
    JSON = "json"


class ServiceLog:
    """Each event and each line of the server's as one line; without ``verbose`` of the server's the errors alone."""

    def __init__(self, log_format: LogFormat, *, verbose: bool) -> None:
        self.is_verbose = verbose
        self._as_json = log_format is LogFormat.JSON

    def show(self, line: "LogLine") -> None:
        """A line that the server has logged."""
        if not (self.is_verbose or line.is_error):
            return
        if self._as_json:
            severity = _SEVERITIES.get(line.severity, line.severity)
            _write({"time": line.time or _now(), "source": "triton", "severity": severity, "message": line.message})
        else:
            self._print(("triton ", "dim"), (line.message, _STYLES.get(line.severity, "")))

    def tell(self, event: "ServiceEvent") -> None:
        """Something that happened to the server or the repository, and the end of the log where it tells why."""
        facts = event.to_dict()
        if self._as_json:
            _write({"time": _now(), "source": "repo-tool", **facts})
            return
        is_bad = _is_bad(facts)
        self._print((f"{datetime.now():%H:%M:%S} ", "dim"), (event.words, "bold red" if is_bad else "green"))
        for line in str(facts.get("last_words") or "").splitlines():
            self._print(("  | ", "dim"), (line, "red"))

    @staticmethod
    def _print(*parts: tuple[str, str]) -> None:
        from rich.text import Text

        from repo_tool.cli.console import error_console
        from repo_tool.printable import printable_lines

        shown = ((printable_lines(words), style) for words, style in parts)
        error_console().print(Text.assemble(*shown), soft_wrap=True)


def _is_bad(facts: dict[str, object]) -> bool:
    return "error" in facts or bool(facts.get("is_bad"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(facts: dict[str, object]) -> None:
    print(json.dumps(facts), file=sys.stderr, flush=True)
