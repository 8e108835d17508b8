# SPDX-License-Identifier: Apache-2.0
"""A figure as a page of Markdown: the drawing as Mermaid, and below it what each part is."""

__all__ = ["render_markdown"]

import re

from repo_tool.pipelines.drawing.figure import Box, Figure
from repo_tool.pipelines.drawing.mermaid import render_mermaid
from repo_tool.printable import printable

_MARKUP = re.compile(r"[\\`*_\[\]<>|#&~]")


def render_markdown(figure: Figure) -> str:
    """A heading, the drawing, and a table of the parts with the reason of each."""
    lines = [f"# {_plain(figure.title)}", ""]
    lines += [_plain(figure.description), ""] if figure.description else []
    lines += ["```mermaid", render_mermaid(figure).rstrip("\n"), "```", ""]
    parts = [item for item in figure.items if isinstance(item, Box)]
    lines += ["| model | runs as | why |", "|---|---|---|"]
    lines += [f"| {_plain(part.title)} | {_plain(part.tag)} | {_plain(part.reason)} |" for part in parts]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Without what Markdown would take for markup."""
    return _MARKUP.sub(lambda sign: "\\" + sign[0], printable(text))
