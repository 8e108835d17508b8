# SPDX-License-Identifier: Apache-2.0
"""Python code that a person names as ``package.module:Name``, found and read without importing it."""

__all__ = ["find_module", "names_predictor"]

import ast
import sys
from pathlib import Path

from repo_tool.importers.first_bytes import is_factory

_METHOD = "predict"


def find_module(name: str) -> Path | None:
    """The file of a module on the import path, the working folder first; None for what is built in or not there."""
    relative = Path(*name.split("."))
    for folder in (Path.cwd(), *map(Path, sys.path)):
        for candidate in (folder / relative / "__init__.py", folder / relative.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


def names_predictor(source: str) -> bool:
    """Whether the source names a class with a method ``predict``, its own or that of a class in the same module."""
    if not is_factory(source):
        return False
    module, name = source.split(":")
    path = find_module(module)
    if path is None:
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return False  # importing it will say what is wrong
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return _has_method(name, classes, seen=set())


def _has_method(name: str, classes: dict[str, ast.ClassDef], *, seen: set[str]) -> bool:
    node = classes.get(name)
    if node is None or name in seen:
        return False
    if any(isinstance(entry, ast.FunctionDef) and entry.name == _METHOD for entry in node.body):
        return True
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return any(_has_method(base, classes, seen={*seen, name}) for base in bases)
