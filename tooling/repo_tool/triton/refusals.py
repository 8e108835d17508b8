# SPDX-License-Identifier: Apache-2.0
"""Triton's own reason for refusing a model, without what it wraps around it."""

__all__ = ["cleaned", "poll_failure"]

import re
from collections.abc import Iterable

from repo_tool.triton.log import LogLine

_WRAPPINGS = (
    re.compile(r"^load failed for model '[^']*': "),
    re.compile(r"^version \d+ is at UNAVAILABLE state: "),
    re.compile(r"^(?:Poll failed for model directory|failed to poll model) '[^']*': "),
    re.compile(r"^Internal: (?=TritonModelException: )"),
    re.compile(r"^TritonModelException: "),
    re.compile(r"\n\nAt:\n.*", re.DOTALL),
    re.compile(r"[;\s]+$"),
)
_PARSE_ERROR = re.compile(r"Error parsing text-format \S+: (?P<what>.*)")


def cleaned(words: str) -> str:
    """The reason alone: neither Triton's state machine nor the stub's stack."""
    for wrapping in _WRAPPINGS:
        words = wrapping.sub("", words)
    return words


def poll_failure(lines: Iterable[LogLine], model: str) -> str:
    """Why Triton "failed to poll" a model, which it tells its log alone; empty when the log does not say.

    For a ``config.pbtxt`` that does not parse, protobuf names line, column and mistake one line earlier.
    """
    mistake = ""
    for line in lines:
        if parse_error := _PARSE_ERROR.search(line.message):
            mistake = parse_error["what"]
        elif line.is_error and f"'{model}'" in line.message:
            reason = cleaned(line.message)
            return f"{reason}: {mistake}" if mistake and "text proto" in reason else reason
        elif line.is_error:
            mistake = ""  # it was another model's
    return ""
