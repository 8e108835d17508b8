# SPDX-License-Identifier: Apache-2.0
"""The part of a generated file that is the same for all models: the modules of ``runtime/`` put together."""

__all__ = ["runtime_names", "runtime_text"]

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("runtime")
_ORDER = (
    "errors",
    "values",
    "wire",
    "client",
    "signatures",
    "inputs",
    "answers",
    "calls",
    "many",
    "models",
    "sequences",
    "streams",
)
# What binds the modules together, and the line of the licence, which the generated file has once.
_SEAMS = re.compile(r"^(?:import [^;]*;|export \{[^}]*\};|// SPDX[^\n]*)\n", re.MULTILINE)
_COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_TYPE_NAMES = re.compile(r"\b[A-Z]\w*")


@cache
def runtime_text() -> str:
    """The modules as one, without imports among them."""
    modules = ((_FOLDER / f"{name}.ts").read_text(encoding="utf-8") for name in _ORDER)
    return "\n".join(_SEAMS.sub("", module).strip("\n") + "\n" for module in modules)


@cache
def runtime_names() -> frozenset[str]:
    """Every name in it that could be that of a class: its own, and those of the language that it uses."""
    return frozenset(_TYPE_NAMES.findall(_COMMENTS.sub("", runtime_text())))
