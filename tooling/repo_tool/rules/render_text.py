# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as text, one paragraph each, the place first so that editors and terminals can jump to it."""

__all__ = ["Style", "render_text", "summary"]

import textwrap
from collections.abc import Callable, Iterator
from typing import Literal

from repo_tool.printable import printable
from repo_tool.rules.diagnostics import Diagnostic, Report, Severity
from repo_tool.rules.excerpts import SourceLines, excerpt
from repo_tool.rules.shown_paths import shown_path

Part = Literal["place", "error", "warning", "note", "label"]
Style = Callable[[str, Part], str]
_EXCERPT_WIDTH = 120  # where nobody says how wide the terminal is
_NARROWEST = 40


def plain(text: str, part: Part) -> str:
    """No colours."""
    return text


def render_text(
    report: Report,
    *,
    folder: str = "",
    sources: SourceLines | None = None,
    width: int | None = None,
    style: Style = plain,
) -> str:
    """A paragraph for each diagnostic: its place, code, severity and fact; the line; its cause; what mends it.

    Args:
        report: What was found.
        folder: The repository as seen from where the text is read, which goes in front of each path.
        sources: The files' lines; without them none is shown.
        width: Columns of the terminal, for which causes and fixes are wrapped; None does not wrap.
        style: Colours the parts.
    """
    paragraphs = (
        "\n".join(_paragraph(diagnostic, report, folder, sources, width, style)) for diagnostic in report.diagnostics
    )
    return "".join(f"{paragraph}\n\n" for paragraph in paragraphs)


def _paragraph(
    diagnostic: Diagnostic,
    report: Report,
    folder: str,
    sources: SourceLines | None,
    width: int | None,
    style: Style,
) -> Iterator[str]:
    part = _PARTS[diagnostic.severity]
    frame = list(_frame(diagnostic, sources, width, style)) if sources is not None else []
    field = f"{diagnostic.field}: " if diagnostic.field and not frame else ""
    place = printable(shown_path(folder, diagnostic.path))
    if diagnostic.region is not None:
        place += f":{diagnostic.region.line}:{diagnostic.region.column}"
    kind = style(f"{diagnostic.code} {diagnostic.severity.value}", part)
    yield f"{style(place, 'place')}: {kind}: {printable(field + report.fact(diagnostic))}"
    yield from frame
    margin = " " * len(str(diagnostic.line or 1)) if frame else " "
    for label, text in diagnostic.remarks:
        head = f"{margin} = {label}:{' ' * (6 - len(label))}"
        yield f"{style(head, 'label')}{_wrapped(text, indent=len(head), width=width)}"


def _frame(diagnostic: Diagnostic, sources: SourceLines | None, width: int | None, style: Style) -> Iterator[str]:
    """The line with its number, and a mark below the field with its name."""
    if sources is None or diagnostic.region is None:
        return
    number = str(diagnostic.region.line)
    line = sources.line(diagnostic.path, diagnostic.region.line)
    if not line.strip():
        return
    margin = " " * len(number)
    room = max((width or _EXCERPT_WIDTH) - len(number) - 3, _NARROWEST)
    shown = excerpt(line, diagnostic.region, width=room)
    mark = style("^" * shown.length, _PARTS[diagnostic.severity])
    yield style(f"{margin} |", "label")
    yield f"{style(f'{number} |', 'label')} {shown.text}"
    name = printable(diagnostic.field)
    name = name if len(name) <= room else f"{name[: room - 1]}…"
    fits = shown.indent + shown.length + 1 + len(name) <= room
    yield f"{style(f'{margin} |', 'label')} {' ' * shown.indent}{mark} {name if fits else ''}".rstrip()
    if not fits:
        yield f"{style(f'{margin} |', 'label')} {' ' * max(min(shown.indent, room - len(name)), 0)}{name}"


def _wrapped(text: str, *, indent: int, width: int | None) -> str:
    lines = [printable(line) for line in text.strip().splitlines()]
    if width is not None:
        room = max(width - indent, _NARROWEST)
        lines = [
            part
            for line in lines
            for part in textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
        ]
    return ("\n" + " " * indent).join(lines)


def summary(report: Report) -> str:
    """The closing line: how much was looked at and what was found."""
    found = [_counted(report.count(severity), severity.value) for severity in Severity if report.count(severity)]
    if report.suppressed:
        found.append(f"{len(report.suppressed)} suppressed")
    if fixable := sum(bool(diagnostic.edits) for diagnostic in report.diagnostics):
        found.append(f"{fixable} fixable with --fix")
    models = _counted(len(report.models), "model")
    if report.repositories:
        models += f" in {len(report.repositories)} repositories"
    words = ", ".join([models, *(found or ["nothing found"])])
    return f"{words} ({report.seconds:.2f} s)"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_PARTS: dict[Severity, Part] = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
