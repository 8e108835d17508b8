# SPDX-License-Identifier: Apache-2.0
"""The environments that Python models bring along (EXECUTION_ENV_PATH), read without running anything in them."""

__all__ = ["environment_path", "python_of_environment"]

import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from repo_tool.rules.file_kinds import exists, is_file, is_folder, is_within
from repo_tool.rules.subjects import ModelSubject

_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
_LIBRARIES = re.compile(r"(?:\./)?lib/python(3\.[0-9]+)(?:/.*)?")
_MOST_MEMBERS = 20_000  # the folder of Python's own library is among the first that conda-pack writes
_MOST_BYTES = 256 * 1024 * 1024  # then it is not worth the time of somebody who waits


def environment_path(model: ModelSubject) -> Path | None:
    """Where the environment of a Python model lies; None when it has none, or not within its directory."""
    written = model.config.parameters.get("EXECUTION_ENV_PATH", "")
    if model.backend != "python" or not written.startswith(_MODEL_DIRECTORY + "/"):
        return None
    path = model.directory.path / written.removeprefix(_MODEL_DIRECTORY + "/")
    return path if exists(path) and is_within(path, model.directory.path) else None


def python_of_environment(path: Path) -> str:
    """The Python version of a packed or unpacked environment, e.g. 3.12; "" where it does not say."""
    names = _names_in_folder(path) if is_folder(path) else _names_in_archive(path)
    return next((match[1] for name in names if (match := _LIBRARIES.fullmatch(name))), "")


def _names_in_folder(path: Path) -> Iterator[str]:
    try:
        yield from (f"lib/{entry.name}" for entry in sorted((path / "lib").iterdir()))
    except OSError:
        return


def _names_in_archive(path: Path) -> Iterator[str]:
    if not is_file(path):
        return
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for number, member in enumerate(archive):
                if number >= _MOST_MEMBERS or member.offset > _MOST_BYTES:
                    return
                yield member.name
    except (OSError, tarfile.TarError, zlib.error, EOFError, ValueError):
        return
