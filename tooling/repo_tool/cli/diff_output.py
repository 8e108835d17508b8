# SPDX-License-Identifier: Apache-2.0
"""Unified diffs on standard output."""

__all__ = ["print_diff"]

from repo_tool.cli.console import console
from repo_tool.printable import printable

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def print_diff(text: str) -> None:
    """Show a unified diff: coloured in a terminal, ready for ``patch`` elsewhere."""
    out = console()
    if not out.is_terminal:
        print(text, end="")
        return
    for line in text.splitlines():
        is_heading = line.startswith(("+++ ", "--- "))
        style = "bold" if is_heading else _STYLES.get(line[:1], "")
        out.print(printable(line), style=style, markup=False, soft_wrap=True)
