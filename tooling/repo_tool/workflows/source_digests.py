# SPDX-License-Identifier: Apache-2.0
"""The digest of what a model was made from, also where that is Python code named ``package.module:factory``."""

__all__ = ["digest_of_source"]

import ast
from collections.abc import Iterator
from pathlib import Path

from repo_tool.repository.provenance import digest_of, digest_of_files

_CACHES = ("__pycache__", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache", ".ruff_cache")


def digest_of_source(source: str, folder: Path, *, through_pointers: bool = False) -> str | None:
    """Of a file or folder its content; of code the part of it that lies in ``folder``, None for installed code.

    That part is the module or all files of its package, and whatever of ``folder`` these import in turn. With
    ``through_pointers`` a Git LFS pointer has the digest of the file that it stands for.
    """
    if _exists(folder / source):
        return digest_of(folder / source, through_pointers=through_pointers)
    if ":" not in source:
        return None
    files = _code(source.partition(":")[0].partition(".")[0], folder)
    return digest_of_files(files, folder, through_pointers=through_pointers) if files else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name of a factory may be longer than any file's
        return False


def _code(name: str, folder: Path) -> list[Path]:
    """The files of a top-level module or package of ``folder``, and of those that it imports."""
    files: list[Path] = []
    names = [name]
    for current in names:  # grows while it is walked
        own = list(_files(folder / current))
        files += own
        imported = {found for path in own if path.suffix == ".py" for found in _imports(path)}
        names += sorted(imported.difference(names))
    return files


def _files(place: Path) -> Iterator[Path]:
    """Those of a package, with or without an ``__init__.py``, or a module: Python looks in this order."""
    module = place.with_name(f"{place.name}.py")
    if _exists(module) and not _exists(place / "__init__.py"):
        yield module
    elif _exists(place):
        for path in sorted(place.rglob("*")):
            if path.is_file() and not set(path.relative_to(place).parts) & set(_CACHES):
                yield path


def _imports(path: Path) -> Iterator[str]:
    """The top-level names that a module imports; those that are not in the folder have no files there."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return  # importing it will say what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
