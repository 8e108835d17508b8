# SPDX-License-Identifier: Apache-2.0
"""What a source is, judged by its name and first bytes alone: nothing is unpickled, imported or executed."""

__all__ = ["Kind", "is_factory", "kind_of", "looks_like", "pickled_class"]

import bz2
import gzip
import io
import lzma
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

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
    b"\x5d\x00\x00",
)
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZ": bz2.open,
    b"\xfd7": lzma.open,
    b"\x5d\x00": lzma.open,
}
_BOOSTERS = frozenset({"xgboost", "lightgbm", "catboost"})
_NAME_WITHIN = 4096  # bytes of a pickle: the class of what it holds stands at its start


class Kind(Enum):
    """What the first bytes, or the members of an archive or a folder, say."""

    PICKLE = "a pickle"
    BOOSTER_PICKLE = "a pickle of XGBoost, LightGBM or CatBoost"
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
    is_pickle = start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"
    if not is_pickle and not start.startswith(_COMPRESSED):
        return Kind.UNKNOWN
    if pickled_class(path).partition(".")[0] in _BOOSTERS:
        return Kind.BOOSTER_PICKLE
    return Kind.PICKLE if is_pickle else Kind.COMPRESSED


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


def pickled_class(path: Path) -> str:
    """The first ``package.module.Class`` that a pickle, compressed or not, names; "" if it is none or names none.

    Its opcodes are read, not executed.
    """
    words: list[str] = []
    with suppress(ValueError, UnicodeDecodeError):  # the start of a pickle ends in the middle of something
        for opcode, argument, _ in pickletools.genops(io.BytesIO(_start_of(path))):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(words[-2:])
            if isinstance(argument, str):
                words.append(argument)
    return ""


def _start_of(path: Path) -> bytes:
    """The first bytes, uncompressed."""
    with path.open("rb") as file:
        start = file.read(_NAME_WITHIN)
    with suppress(OSError, EOFError, lzma.LZMAError, zlib.error):
        if start[:1] == b"\x78":  # joblib's own choice, which is no file format
            return zlib.decompressobj().decompress(start, _NAME_WITHIN)
        opener = _OPENERS.get(start[:2])
        if opener is not None:
            with opener(path) as stream:
                return bytes(stream.read(_NAME_WITHIN))
    return start
