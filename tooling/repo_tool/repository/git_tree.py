# SPDX-License-Identifier: Apache-2.0
"""A tree that Git keeps, looked at without a working tree: what lies where, and where its links lead."""

__all__ = ["GitTree"]

import os
import posixpath
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repo_tool.errors import RepositoryError

_LINK = "120000"  # the mode of a symbolic link
_SUBMODULE = "160000"
_MOST_LINKS = 40  # on the way to one file, as Linux has it
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitTree:
    """The files of a revision, each by its path from the top."""

    revision: str
    top: Path  # where the working tree has its top
    here: str  # where in the tree the current folder is
    files: Mapping[str, str]  # Git's name of each content
    links: Mapping[str, str]
    submodules: frozenset[str]
    folders: Mapping[str, set[str]] = field(repr=False)  # the names in each

    @classmethod
    def of(cls, revision: str) -> "GitTree":
        """The whole tree of a revision, as the repository around the current folder has it.

        Raises:
            RepositoryError: there is no Git here, or no such revision.
        """
        listed = _listed(revision)
        links = [path for path, (mode, _) in listed.items() if mode == _LINK]
        targets = _contents([listed[path][1] for path in links], revision)
        return cls(
            revision=revision,
            top=_top(revision),
            here=os.fsdecode(_git("rev-parse", "--show-prefix", revision=revision).rstrip(b"\n")),
            files={path: content for path, (mode, content) in listed.items() if mode not in (_LINK, _SUBMODULE)},
            links=dict(zip(links, map(os.fsdecode, targets), strict=True)),
            submodules=frozenset(path for path, (mode, _) in listed.items() if mode == _SUBMODULE),
            folders=_folders(listed),
        )

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there, or a link that leads to one."""
        return self.followed(path) in self.folders

    def is_file(self, path: str) -> bool:
        """Whether a file is there, or a link that leads to one."""
        return self.followed(path) in self.files

    def names(self, path: str) -> list[str]:
        """What lies in a folder."""
        return sorted(self.folders.get(self.followed(path), ()))

    def followed(self, path: str) -> str:
        """The path from the top without links and ``..``; there need not be anything.

        Raises:
            RepositoryError: it leads out of the tree, into a submodule, or in a circle.
        """
        waiting, steps, links = path.split("/")[::-1], list[str](), 0
        while waiting:
            name = waiting.pop()
            if name == ".." and not steps:
                raise self._no_way(path, "it leads out of what Git keeps")
            if name == "..":
                steps.pop()
            elif name not in ("", "."):
                steps.append(name)
                links += self._follow_last(path, steps, waiting)
            if links > _MOST_LINKS:
                raise self._no_way(path, "its links lead in a circle")
        return "/".join(steps)

    def _follow_last(self, path: str, steps: list[str], waiting: list[str]) -> int:
        """Put the target of a link in its place; how many links that were."""
        reached = "/".join(steps)
        if reached in self.submodules:
            raise self._no_way(path, f"'{reached}' is a submodule, which Git keeps elsewhere")
        target = self.links.get(reached)
        if target is None:
            return 0
        if target.startswith("/"):
            raise self._no_way(path, f"'{reached}' is a link to {target}, which Git does not keep")
        steps.pop()
        waiting += target.split("/")[::-1]
        return 1

    def read(self, paths: Sequence[str], *, largest: int) -> dict[str, bytes]:
        """The content of each file, links followed; of at most ``largest`` bytes.

        Raises:
            RepositoryError: one is larger, or the tree has only a pointer of Git LFS for it.
        """
        wanted = [self.files[self.followed(path)] for path in paths]
        for path, size in zip(paths, _sizes(wanted, self.revision), strict=True):
            if size > largest:
                raise self._no_way(path, f"it has {size:,} bytes, more than the {largest:,} of any such file")
        found = dict(zip(paths, _contents(wanted, self.revision), strict=True))
        for path, content in found.items():
            if content.startswith(_LFS):
                raise self._no_way(path, "the revision holds a pointer of Git LFS in its place")
        return found

    def _no_way(self, path: str, cause: str) -> RepositoryError:
        return RepositoryError(
            f"'{posixpath.normpath(path)}' cannot be read in '{self.revision}'",
            cause=cause,
            next_step="check that revision out, e.g. with git worktree add, and give its folder",
        )


def _listed(revision: str) -> dict[str, tuple[str, str]]:
    """Mode and content's name by path."""
    found: dict[str, tuple[str, str]] = {}
    for line in _git("ls-tree", "-r", "-z", "--full-tree", revision, revision=revision).split(b"\0"):
        facts, _, path = line.partition(b"\t")
        if path:
            mode, _, content = facts.decode().split()
            found[os.fsdecode(path)] = mode, content
    return found


def _folders(paths: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"": set()}
    for path in paths:
        inner = path
        while inner:
            folder, _, name = inner.rpartition("/")
            names = found.setdefault(folder, set())
            if name in names:
                break  # and so are the folders above
            names.add(name)
            inner = folder
    return found


def _top(revision: str) -> Path:
    if _git("rev-parse", "--is-bare-repository", revision=revision).strip() == b"true":
        return Path.cwd()
    return Path(os.fsdecode(_git("rev-parse", "--show-toplevel", revision=revision).rstrip(b"\n")))


def _sizes(names: Sequence[str], revision: str) -> list[int]:
    told = _git("cat-file", "--batch-check", revision=revision, given=_lines(names)).splitlines()
    if any(line.endswith(b" missing") for line in told):
        raise RepositoryError(
            f"some files of '{revision}' are not here", cause="the clone is a partial one", next_step="git fetch them"
        )
    return [int(line.split()[-1]) for line in told]


def _contents(names: Sequence[str], revision: str) -> list[bytes]:
    """What Git keeps under each name, asked for at once: each follows a line that ends with its size."""
    told = _git("cat-file", "--batch", revision=revision, given=_lines(names))
    found, start = list[bytes](), 0
    for _ in names:
        end = told.index(b"\n", start)
        size = int(told[start:end].split()[-1])
        found.append(told[end + 1 : end + 1 + size])
        start = end + size + 2
    return found


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _git(*arguments: str, revision: str, given: bytes = b"") -> bytes:
    program = shutil.which("git")
    if program is None:
        raise RepositoryError(f"'{revision}' is a Git revision", cause="there is no git here", next_step="install it")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        raise RepositoryError(
            f"there is no revision '{revision}'",
            cause=done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed",
            next_step="give REVISION:PATH, e.g. main:model_repository, in a Git working tree",
        )
    return done.stdout
