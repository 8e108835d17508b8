# SPDX-License-Identifier: Apache-2.0
"""YAML that somebody else wrote, within limits: a few lines of aliases can stand for more than any memory holds."""

__all__ = ["BoundedLoader", "bounded_text", "read_bounded_yaml", "yaml_complaint"]

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_MOST_BYTES = 4 << 20
_MOST_VALUES = 200_000  # about 10,000 models
_DEEPEST = 50


class BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which counts every value as often as aliases name it, and takes each key once."""

    def __init__(self, text: str) -> None:
        """Load ``text``."""
        super().__init__(text)
        self._open = 0
        self._extents: dict[int, tuple[int, int]] = {}  # of each node: how many values it stands for, and how deep

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node.

        Raises:
            MarkedYAMLError: it holds too much, or itself.
        """
        is_alias = self.check_event(yaml.AliasEvent)
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it so
        self._open += 1
        if self._open > _DEEPEST or len(self._extents) > _MOST_VALUES:
            raise _excess(mark)
        node = super().compose_node(parent, index)
        self._open -= 1
        if node is None:
            return None
        if id(node) not in self._extents:
            if is_alias:  # of what is still being read
                raise yaml.MarkedYAMLError(problem="it holds itself", problem_mark=mark)
            self._extents[id(node)] = self._extent(node)
        values, depth = self._extents[id(node)]
        if values > _MOST_VALUES or depth > _DEEPEST:
            raise _excess(mark)
        return node

    def get_single_node(self) -> yaml.Node | None:
        """The one document.

        Raises:
            MarkedYAMLError: a mapping has a key twice, of which YAML would silently take the last.
        """
        root = super().get_single_node()
        twice = next(_repeated_keys(root, seen=set()), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(problem=f"'{twice.value}' is given twice", problem_mark=twice.start_mark)
        return root

    def _extent(self, node: yaml.Node) -> tuple[int, int]:
        if not isinstance(node, yaml.CollectionNode):
            return 1, 1
        inner = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        extents = [self._extents[id(part)] for part in inner]
        return 1 + sum(values for values, _ in extents), 1 + max((depth for _, depth in extents), default=0)


def _repeated_keys(node: yaml.Node | None, *, seen: set[int]) -> Iterator[yaml.ScalarNode]:
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated_keys(entry, seen=seen)
        return
    keys: set[tuple[str, str]] = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                yield key
            keys.add((key.tag, key.value))
        for part in (key, value):
            yield from _repeated_keys(part, seen=seen)


def _excess(mark: yaml.Mark) -> yaml.MarkedYAMLError:
    words = f"there are more than {_MOST_VALUES} values, or more than {_DEEPEST} inside one another"
    return yaml.MarkedYAMLError(problem=words, problem_mark=mark)


def bounded_text(path: Path) -> str:
    """What stands in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no text.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
    return path.read_text(encoding="utf-8-sig")


def read_bounded_yaml(path: Path) -> Any:
    """The plain values of one YAML document.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no text.
        YAMLError: it is no YAML, gives a key twice, holds too much, or itself.
    """
    loader = BoundedLoader(bounded_text(path))
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def yaml_complaint(error: yaml.YAMLError, path: Path) -> str:
    """``path:line:column: what is wrong``, as editors jump to it."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error) or type(error).__name__
    mark = error.problem_mark or error.context_mark
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    return f"{place}: {error.problem or error.context}"
