# SPDX-License-Identifier: Apache-2.0
"""The source line that a diagnostic is about, cut and marked for a terminal."""

__all__ = ["Excerpt", "SourceLines", "excerpt"]

from dataclasses import dataclass
from pathlib import Path

from repo_tool.printable import printable
from repo_tool.rules.diagnostics import Region

_MAX_BYTES = 4 * 1024 * 1024
_TAB = "    "
_CUT = "…"


class SourceLines:
    """The lines of a repository's files, for those who show them; the file read last is kept."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._path = ""
        self._lines: list[str] = []

    def line(self, path: str, number: int) -> str:
        """A line without its end, from 1; "" where there is none."""
        if path != self._path:
            self._path, self._lines = path, _read(self._repository / path)
        return self._lines[number - 1].rstrip("\r") if 0 < number <= len(self._lines) else ""


def _read(path: Path) -> list[str]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return []
        return path.read_bytes().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line as it is shown, and how far to the right how long a mark stands below it, in columns of the terminal."""

    text: str
    indent: int
    length: int


def excerpt(line: str, region: Region, *, width: int) -> Excerpt:
    """At most ``width`` columns of ``line`` around what ``region`` marks of it."""
    start, end = _marked(line, region)
    before, after = _shown(line[max(start - width, 0) : start]), _shown(line[end : end + width])
    marked = _shown(line[start : min(end, start + width)])
    is_short = start <= width and end - start <= width
    if not is_short or _columns(before + marked + after) > width:
        whole, marked = marked, _head(marked, width - 2 * len(_CUT))
        is_whole = marked == whole and end - start <= width
        rest = width - 2 * len(_CUT) - _columns(marked)
        before = _cut_head(before, max(rest // 2, rest - _columns(after)), is_cut=start > width)
        after = _cut_tail(after, rest + len(_CUT) - _columns(before)) if is_whole else _CUT
    return Excerpt((before + marked + after).rstrip(), _columns(before), max(_columns(marked), 1))


def _marked(line: str, region: Region) -> tuple[int, int]:
    """The offsets of what is marked, one character at least; the whole line where only that is known."""
    if region.end_column is None and region.column == 1:
        start, end = len(line) - len(line.lstrip()), len(line.rstrip())
    else:
        start = min(region.column - 1, len(line))
        ends_here = region.end_column is not None and region.end_line in (None, region.line)
        end = region.end_column - 1 if ends_here and region.end_column else start + 1
    return start, max(min(end, len(line)), start + 1)


def _cut_head(text: str, columns: int, *, is_cut: bool) -> str:
    kept = _tail(text, columns)
    return _CUT + kept if is_cut or kept != text else kept


def _cut_tail(text: str, columns: int) -> str:
    kept = _head(text, columns)
    return kept + _CUT if kept != text else kept


def _shown(text: str) -> str:
    return printable(text.replace("\t", _TAB))


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _head(text: str, columns: int) -> str:
    while text and _columns(text) > max(columns, 0):
        text = text[: min(len(text) - 1, max(columns, 0))]
    return text


def _tail(text: str, columns: int) -> str:
    while text and _columns(text) > max(columns, 0):
        text = text[max(1, len(text) - max(columns, 0)) :]
    return text
