# SPDX-License-Identifier: Apache-2.0
"""The small files of a model, or of a repository, as a Git revision has them: ``main:model_repository``."""

__all__ = ["at_revision", "names_a_revision"]

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from repo_tool.errors import RepositoryError

_LARGEST = 1 << 20  # configurations and labels; artifacts are not asked for
_BLOB = "blob"
_LINK = "120000"  # the mode of a symbolic link


def names_a_revision(operand: str) -> bool:
    """Whether ``operand`` is ``REVISION:PATH``, and nothing that lies on the disk is called so."""
    return ":" in operand[1:] and not operand.startswith("-") and not Path(operand).exists()


@contextmanager
def at_revision(operand: str) -> Iterator[Path]:
    """What ``REVISION:PATH`` holds, in a temporary place: a file, or a folder without its large files.

    Raises:
        RepositoryError: there is no Git here, no such revision, or nothing at that path in it.
    """
    revision, _, path = operand.partition(":")
    inside = f"{revision}:{path if path.startswith('./') else f'./{path}'}"  # as seen from here, not from the top
    kind = _git("cat-file", "-t", inside, operand=operand).decode().strip()
    with tempfile.TemporaryDirectory(prefix="repo-tool-revision-") as scratch:
        place = Path(scratch) / (PurePosixPath(path).name or "repository")
        if kind == _BLOB:
            place.write_bytes(_git("cat-file", _BLOB, inside, operand=operand))
        else:
            _write_folder(place, inside, operand)
        yield place


def _write_folder(place: Path, inside: str, operand: str) -> None:
    place.mkdir()
    wanted = _listed(inside, operand)
    for name, content in zip(wanted, _contents(list(wanted.values()), operand), strict=True):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _listed(inside: str, operand: str) -> dict[str, str]:
    """The wanted files of a folder by relative path, each with Git's name of its content."""
    found: dict[str, str] = {}
    for line in _git("ls-tree", "-r", "-z", "--long", inside, operand=operand).decode(errors="replace").split("\0"):
        facts, _, name = line.partition("\t")
        if not name:
            continue
        mode, kind, content, size = facts.split()
        if kind == _BLOB and mode != _LINK and _is_wanted(name, int(size)):
            found[name] = content
    return found


def _contents(names: Sequence[str], operand: str) -> Iterator[bytes]:
    """What Git keeps under each name, asked for at once: each follows a line that ends with its size."""
    told = _git("cat-file", "--batch", operand=operand, given="".join(f"{name}\n" for name in names).encode())
    start = 0
    for _ in names:
        end = told.index(b"\n", start)
        size = int(told[start:end].split()[-1])
        yield told[end + 1 : end + 1 + size]
        start = end + size + 2


def _is_wanted(name: str, size: int) -> bool:
    """What lies beside a config.pbtxt and in ``configs/``, but not in version folders."""
    parts = PurePosixPath(name).parts
    return size <= _LARGEST and len(parts) <= 3 and not any(part.isdigit() for part in parts[:-1]) and ".." not in parts


def _git(*arguments: str, operand: str, given: bytes = b"") -> bytes:
    program = shutil.which("git")
    if program is None:
        raise RepositoryError(f"'{operand}' is a Git revision", cause="there is no git here", next_step="install it")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise RepositoryError(
            f"there is no '{operand}'",
            cause=done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed",
            next_step="give REVISION:PATH, e.g. main:model_repository, in a Git working tree",
        )
    return done.stdout
