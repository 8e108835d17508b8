# SPDX-License-Identifier: Apache-2.0
"""Finds what a ``config.pbtxt`` would put into the shell command that Triton starts its Python stub with.

Triton 2.51 writes the names of instances and the path of an execution environment into ``bash -c`` without quotes, so
a configuration could run any command, whatever its backend. The text is read piece by piece: protobuf's own parser
takes longer to import than a model takes to load.
"""

__all__ = ["shell_words"]

import re
from collections.abc import Iterable, Iterator

_PIECE = re.compile(r"""#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_][\w.]*|[{}<>]|[^\s{}<>"'#]""")
_SAFE = re.compile(r"(?:\$\$TRITON_MODEL_DIRECTORY)?[A-Za-z0-9_./-]*")
_ENVIRONMENT = "EXECUTION_ENV_PATH"


def shell_words(text: str) -> list[str]:
    """The strings of a configuration that a shell would not take literally."""
    names, parameters = _strings_near_the_shell(text)
    suspects = [*names, *(parameters if _ENVIRONMENT in _spelt_out(parameters) else [])]
    return [word for word in suspects if _SAFE.fullmatch(word) is None]


def _spelt_out(strings: Iterable[str]) -> str:
    """One text of all strings, as protobuf reads them: neighbours are joined and escapes resolved."""
    return "".join(strings).encode("latin-1", errors="replace").decode("unicode_escape", errors="replace")


def _strings_near_the_shell(text: str) -> tuple[list[str], list[str]]:
    """All strings inside ``instance_group``, and all inside ``parameters``."""
    found: dict[str, list[str]] = {"instance_group": [], "parameters": []}
    for block, string in _strings(text):
        if block in found:
            found[block].append(string[1:-1])
    return found["instance_group"], found["parameters"]


def _strings(text: str) -> Iterator[tuple[str, str]]:
    """Each string with the top-level field whose message it lies in, "" for none."""
    depth, block, field = 0, "", ""
    for piece in _PIECE.findall(text):
        if piece[0] == "#":
            continue
        if piece in "{<":
            block = field if depth == 0 else block
            depth += 1
        elif piece in "}>":
            depth -= 1
            block = block if depth else ""
        elif piece[0] in "\"'":
            yield block, piece
        elif depth == 0 and re.match(r"[A-Za-z_]", piece):
            field = piece
