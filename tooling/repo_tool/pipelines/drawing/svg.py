# SPDX-License-Identifier: Apache-2.0
"""A figure as SVG: one file with its own style sheet, for light and dark surroundings."""

__all__ = ["render_svg"]

from functools import cache
from pathlib import Path as File

import jinja2

from repo_tool.pipelines.drawing.figure import Figure
from repo_tool.pipelines.drawing.layout import Path, lay_out
from repo_tool.pipelines.drawing.lettering import code_width
from repo_tool.printable import printable

_MARGIN = 24.0
_HEADING = 62.0


def render_svg(figure: Figure) -> str:
    """The same text for the same figure on every machine."""
    layout = lay_out(figure)
    heading = _HEADING if figure.description else _HEADING - 18
    width = max(layout.width, code_width(figure.title) * 1.4, code_width(figure.description)) + 2 * _MARGIN
    height = layout.height + heading + 2 * _MARGIN
    placed = layout.moved((width - layout.width) / 2, heading + _MARGIN)
    return _template().render(figure=figure, layout=placed, width=width, height=height, margin=_MARGIN)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(File(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"px": _px, "curve": _curve, "shown": printable}
    return environment.get_template("pipeline.svg.j2")


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _curve(path: Path) -> str:
    (x0, y0), (x1, y1), (x2, y2), (_, y3) = path.points
    if abs(x1 - x2) < 0.05:
        return f"M{_px(x0)} {_px(y0)}V{_px(y3)}"
    middle = (y1 + y2) / 2
    bend = f"C{_px(x1)} {_px(middle)} {_px(x2)} {_px(middle)} {_px(x2)} {_px(y2)}"
    return f"M{_px(x0)} {_px(y0)}V{_px(y1)}{bend}V{_px(y3)}"
