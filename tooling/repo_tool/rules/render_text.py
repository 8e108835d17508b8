# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as text, one paragraph each, the place first so that editors and terminals can jump to it."""

__all__ = ["Style", "printable", "render_text", "summary"]

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from repo_tool.rules.diagnostics import Diagnostic, Severity

Part = Literal["place", "error", "warning", "note", "label"]
Style = Callable[[str, Part], str]


def plain(text: str, part: Part) -> str:
    """No colours."""
    return text


def render_text(diagnostics: Iterable[Diagnostic], *, style: Style = plain) -> str:
    """A paragraph for each diagnostic; ``style`` colours its parts."""
    return "".join(_paragraph(diagnostic, style) for diagnostic in diagnostics)


def _paragraph(diagnostic: Diagnostic, style: Style) -> str:
    place = style(printable(diagnostic.path) or ".", "place")
    field = f"{diagnostic.field}: " if diagnostic.field else ""
    kind = style(f"{diagnostic.code} {diagnostic.severity.value}", _PARTS[diagnostic.severity])
    lines = [f"{place}: {kind}: {printable(field + diagnostic.message)}"]
    for label, text in (("cause", diagnostic.cause), ("fix", diagnostic.fix)):
        if text:
            lines.append(f"  {style(f'{label}:', 'label')}{' ' * (6 - len(label))} {_indented(text)}")
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    return "\n          ".join(printable(line) for line in text.strip().splitlines())


def printable(text: str) -> str:
    """``text`` with control characters spelt out: names come from files, and a terminal obeys what it is sent."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def summary(diagnostics: Iterable[Diagnostic], *, models: int, seconds: float) -> str:
    """The closing line: how much was looked at and what was found."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    parts = [_counted(models, "model")]
    parts += [_counted(counts[severity], severity.value) for severity in Severity if counts[severity]]
    found = ", ".join(parts) if sum(counts.values()) else f"{parts[0]}, nothing found"
    return f"{found} ({seconds:.2f} s)"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_PARTS: dict[Severity, Part] = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
