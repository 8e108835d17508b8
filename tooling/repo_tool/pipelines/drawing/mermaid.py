# SPDX-License-Identifier: Apache-2.0
"""A figure as Mermaid text, which GitHub and GitLab draw in Markdown."""

__all__ = ["render_mermaid"]

from collections.abc import Iterable, Iterator

from repo_tool.pipelines.drawing.figure import Box, Figure, Item, Node, NodeKind
from repo_tool.printable import printable

_SHAPES = {
    NodeKind.INPUT: ("([", "])"),
    NodeKind.OUTPUT: ("([", "])"),
    NodeKind.WIRE: ("(", ")"),
    NodeKind.STEP: ("[", "]"),
    NodeKind.MODEL: ("[[", "]]"),
    NodeKind.CONDITION: ("{{", "}}"),
}
# What would end the text or be read as markup; Mermaid's own notation for a sign by its number.
_SIGNS = {sign: f"#{ord(sign)};" for sign in '#&"<>`\\{}[]()|*_~$%@;'}


def render_mermaid(figure: Figure) -> str:
    """A flowchart from the top down."""
    names = {node.identity: f"n{place}" for place, node in enumerate(figure.nodes())}
    boxes = {box.identity: f"b{place}" for place, box in enumerate(_boxes(figure.items))}
    lines = ["flowchart TD", *_items(figure.items, names, boxes, indent="  ")]
    lines += [f"  {names[edge.source]} --> {names[edge.target]}" for edge in figure.edges]
    return "\n".join(lines) + "\n"


def _boxes(items: Iterable[Item]) -> Iterator[Box]:
    for item in items:
        if isinstance(item, Box):
            yield item
            yield from _boxes(item.items)


def _items(items: Iterable[Item], names: dict[str, str], boxes: dict[str, str], *, indent: str) -> Iterator[str]:
    for item in items:
        if isinstance(item, Node):
            before, after = _SHAPES[item.kind]
            yield f'{indent}{names[item.identity]}{before}"{_label(item)}"{after}'
            continue
        heading = " · ".join(filter(None, (item.title, item.tag)))
        yield f'{indent}subgraph {boxes[item.identity]} ["{_escaped(heading)}"]'
        yield from _items(item.items, names, boxes, indent=indent + "  ")
        yield f"{indent}end"


def _label(node: Node) -> str:
    return "<br/>".join(_escaped(line) for line in (node.title, *node.lines))


def _escaped(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in printable(text).replace("\n", " "))
