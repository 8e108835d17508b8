# SPDX-License-Identifier: Apache-2.0
"""YAML with the place of every value, for messages that say line and column."""

__all__ = ["Written", "WrittenFloat", "read_yaml"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from repo_tool.bounded_yaml import BoundedLoader, bounded_text, yaml_complaint
from repo_tool.errors import SpecificationError


class WrittenFloat(float):
    """A number that remembers how it was written: 26.10 is a release, and 26.1 another."""

    written: str

    def __new__(cls, value: float, written: str) -> "WrittenFloat":
        """The number ``value`` that stands there as ``written``."""
        made = super().__new__(cls, value)
        made.written = written
        return made


class _Loader(BoundedLoader):
    """The loader with our numbers."""


def _written_float(loader: _Loader, node: yaml.ScalarNode) -> WrittenFloat:
    return WrittenFloat(loader.construct_yaml_float(node), node.value)


_Loader.add_constructor("tag:yaml.org,2002:float", _written_float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A YAML file's plain value, and where each part of it is written."""

    path: Path
    value: Any
    root: yaml.Node | None

    def place(self, location: Sequence[str | int], *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at ``location``, or of the nearest one around it that is written.

        With ``of_key`` it is the last key's own place.
        """
        node, mark = self.root, self.root.start_mark if self.root else None
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            key, node = found
            mark = key.start_mark if of_key and key is not None else node.start_mark
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def read_yaml(path: Path) -> Written:
    """Read one YAML document.

    Raises:
        SpecificationError: it cannot be read, is no YAML, gives a key twice, holds itself or more than a file should.
    """
    try:
        loader = _Loader(bounded_text(path))
        try:
            root = loader.get_single_node()
            value = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except FileNotFoundError as error:
        raise _unreadable(path, "there is no such file") from error
    except yaml.YAMLError as error:
        raise _unreadable(path, yaml_complaint(error, path)) from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error
    return Written(path=path, value=value, root=root)


def _unreadable(path: Path, cause: str) -> SpecificationError:
    return SpecificationError(
        f"'{path}' cannot be read",
        cause=cause,
        next_step="give the path of a YAML file as in docs/repository-as-code.md",
    )


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None
