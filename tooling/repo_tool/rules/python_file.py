# SPDX-License-Identifier: Apache-2.0
"""What a Python model's ``model.py`` holds, read as a syntax tree: nothing of it is run."""

__all__ = ["PythonModelFault", "fault_of_python_model", "lacks_execute"]

import ast
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

_CLASS = "TritonPythonModel"
_LARGEST_FILE = 16 * 1024 * 1024
# With these a name may come to be without standing in the source.
_MAKES_NAMES = re.compile(r"\b(exec|eval|globals|setattr|__dict__|__getattr__|import_module|__import__)\b")
# What Python 3.12 reads and 3.11 does not: nested f-strings and type parameters.
_NEWER_SYNTAX = re.compile(r"\b[fF]['\"]|^\s*type\s+\w+|^\s*(?:async\s+)?(?:def|class)\s+\w+\s*\[", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonModelFault:
    """Why Triton cannot take the file for a model."""

    message: str
    cause: str
    line: int | None = None


def fault_of_python_model(path: Path, *, python_version: str) -> PythonModelFault | None:
    """What is wrong with a ``model.py`` for a stub of that Python; None where nothing is, or nothing can be known."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return None
        source = path.read_bytes()
        tree = _compiled(source)
    except SyntaxError as error:
        if _is_older_than(python_version) and _NEWER_SYNTAX.search(source.decode("utf-8", "replace")):
            return None
        return PythonModelFault(
            message=f"the file is not Python: {error.msg}", cause="Triton imports it", line=error.lineno
        )
    except ValueError as error:  # a zero byte
        return PythonModelFault(message=f"the file is not Python: {error}", cause="Triton imports it")
    except (OSError, RecursionError, MemoryError):
        return None
    return None if _may_have_class(tree, source.decode("utf-8", "replace")) else _NO_CLASS


_NO_CLASS = PythonModelFault(
    message=f"the file has no class {_CLASS}", cause=f"Triton makes an object of {_CLASS} and calls its execute"
)


def _compiled(source: bytes) -> ast.Module:
    """The syntax tree of what compiles; nothing of it is run.

    Raises:
        SyntaxError: it does not.
        ValueError: it holds a zero byte.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd but valid code
        tree = ast.parse(source)
        compile(tree, "model.py", "exec", dont_inherit=True)
    return tree


def lacks_execute(path: Path) -> bool:
    """Whether the class certainly has no ``execute``: no base class, and no such word in the file."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return False
        source = path.read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if b"execute" in source or _MAKES_NAMES.search(source.decode("utf-8", "replace")):
        return False
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == _CLASS]
    return len(found) == 1 and not (found[0].bases or found[0].keywords or found[0].decorator_list)


def _is_older_than(python_version: str) -> bool:
    return sys.version_info[:2] < tuple(int(part) for part in python_version.split("."))


def _may_have_class(tree: ast.Module, source: str) -> bool:
    return _CLASS in source or _MAKES_NAMES.search(source) is not None or any(map(_imports_all, ast.walk(tree)))


def _imports_all(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
