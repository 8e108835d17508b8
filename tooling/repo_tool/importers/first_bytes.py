# SPDX-License-Identifier: Apache-2.0
"""What a source is, judged by its name and first bytes alone: nothing is unpickled, imported or executed."""

__all__ = ["Kind", "is_factory", "kind_of", "looks_like"]

import re
import zipfile
from collections.abc import Collection
from enum import Enum
from pathlib import Path

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_COMPRESSED = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"\x04\x22\x4d\x18",
)


class Kind(Enum):
    """What the first bytes, or the members of an archive or a folder, say."""

    PICKLE = "a pickle"
    COMPRESSED = "a compressed file"
    SKOPS = "a skops archive"
    TORCHSCRIPT = "a TorchScript archive"
    TORCH_SAVE = "an archive of torch.save"
    EXPORTED_PROGRAM = "an archive of torch.export.save"
    KERAS = "a Keras archive"
    HDF5 = "an HDF5 file"
    SAVED_MODEL = "a SavedModel folder"
    OTHER_ARCHIVE = "a zip archive of something else"
    OTHER_FOLDER = "a folder of something else"
    UNKNOWN = "a file whose first bytes say nothing"


UNDECIDED = frozenset({Kind.PICKLE, Kind.COMPRESSED, Kind.UNKNOWN, Kind.OTHER_ARCHIVE})  # several frameworks' files


def is_factory(source: str) -> bool:
    """Whether the source is written ``package.module:factory`` and is no file of that name."""
    return _FACTORY.fullmatch(source) is not None and not Path(source).exists()


def looks_like(source: str, *, suffixes: Collection[str], kinds: Collection[Kind]) -> bool:
    """Whether the source is one of ``kinds``, or undecided by its content and named with one of ``suffixes``."""
    path = Path(source)
    if not path.exists():
        return False
    kind = kind_of(path)
    return kind in kinds or (kind in UNDECIDED and path.suffix.lower() in suffixes)


def kind_of(path: Path) -> Kind:
    """What the existing file or folder at ``path`` is."""
    if path.is_dir():
        return Kind.SAVED_MODEL if (path / "saved_model.pb").is_file() else Kind.OTHER_FOLDER
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind.HDF5
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return Kind.PICKLE
    return Kind.COMPRESSED if start.startswith(_COMPRESSED) else Kind.UNKNOWN


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return Kind.UNKNOWN  # cut short: the directory of an archive is at its end
    tails = {name.split("/", 1)[-1] for name in names}  # torch puts all members under a folder named as the file
    if "schema.json" in names:
        return Kind.SKOPS
    if {"config.json", "metadata.json"} <= set(names):
        return Kind.KERAS
    if tails & {"archive_format", "models/model.json"} or "serialized_exported_program.json" in names:
        return Kind.EXPORTED_PROGRAM
    if any(tail.startswith("code/") for tail in tails):
        return Kind.TORCHSCRIPT
    return Kind.TORCH_SAVE if "data.pkl" in tails else Kind.OTHER_ARCHIVE
