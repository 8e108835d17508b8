# SPDX-License-Identifier: Apache-2.0
"""The digest of what a model was made from, also where that is Python code named ``package.module:factory``."""

__all__ = ["digest_of_source"]

import hashlib
from pathlib import Path

from repo_tool.repository.provenance import digest_of


def digest_of_source(source: str, folder: Path, *, through_pointers: bool = False) -> str | None:
    """Of a file or folder its content; of code all modules of its package in ``folder``, None for installed code.

    With ``through_pointers`` a Git LFS pointer has the digest of the file that it stands for.
    """
    path = folder / source
    if path.exists():
        return digest_of(path, through_pointers=through_pointers)
    if ":" not in source:
        return None
    package = folder / source.partition(":")[0].partition(".")[0]
    module = package.with_suffix(".py")
    if module.is_file():
        return digest_of(module)
    return _digest_of_package(package) if package.is_dir() else None


def _digest_of_package(package: Path) -> str:
    whole = hashlib.sha256()
    for module in sorted(package.rglob("*.py")):
        whole.update(f"{module.relative_to(package)}\0{digest_of(module)}\n".encode())
    return f"sha256:{whole.hexdigest()}"
