# SPDX-License-Identifier: Apache-2.0
"""What a zip archive may look like before anything in it is read: skops, Keras, ``.pt2``, TorchScript, npz."""

__all__ = ["check_archive"]

import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from repo_tool.errors import SourceError
from repo_tool.importers.foreign import refusing

_MOST_MEMBERS = 100_000
_BOMB_BYTES, _BOMB_RATIO = 256 * 2**20, 200
_ENCRYPTED = 0x1


def check_archive(path: Path) -> Sequence[zipfile.ZipInfo]:
    """The members of an archive that every reader of zip files reads alike, and that unpacks to no bomb.

    Raises:
        SourceError: naming the member and what is wrong with it.
    """
    step = "copy or save it again; the file may have been cut short"
    with refusing(f"'{path.name}' does not read as a zip archive", next_step=step), zipfile.ZipFile(path) as archive:
        members, comment = archive.infolist(), archive.comment
    _check_sizes(path, members)
    reason = "it ends in a comment, where another archive can hide" if comment else _why_not(members)
    if reason:
        raise SourceError(
            f"the archive '{path.name}' is not one that a framework writes",
            cause=reason,
            next_step="do not unpack or load it; ask for the model in another form",
        )
    return members


def _check_sizes(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    size, total = path.stat().st_size, sum(member.file_size for member in members)
    if len(members) > _MOST_MEMBERS:
        raise SourceError(
            f"the archive '{path.name}' has {len(members)} members",
            cause=f"no framework writes more than {_MOST_MEMBERS}",
            next_step="check where it comes from",
        )
    if total > max(_BOMB_BYTES, _BOMB_RATIO * size):
        raise SourceError(
            f"the archive '{path.name}' unpacks to {total / 2**20:.0f} MiB",
            cause=f"that is over {_BOMB_RATIO} times its {size / 2**20:.1f} MiB: a bomb, or damaged",
            next_step="if it is real, save it again without compression",
        )


def _why_not(members: Sequence[zipfile.ZipInfo]) -> str:
    seen: set[str] = set()
    for member in members:
        reason = _why_not_name(member.filename) or _why_not_kind(member)
        if reason:
            return f"its member {member.filename!r} {reason}"
        if member.filename.lower() in seen:  # PyTorch's reader looks names up without regard to case
            return f"it has two members {member.filename!r}"
        seen.add(member.filename.lower())
    return _overlapping(members)


def _why_not_name(name: str) -> str:
    if name.startswith(("/", "~")) or name[1:2] == ":":
        return "has an absolute path"
    if ".." in PurePosixPath(name).parts or "\\" in name:
        return "points outside the archive"
    return "" if name.isprintable() else "has a name that does not print"


def _why_not_kind(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    return "" if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "is compressed in a rare way"


def _overlapping(members: Sequence[zipfile.ZipInfo]) -> str:
    end, last = 0, ""
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            return f"its members {last!r} and {member.filename!r} share bytes"
        end, last = member.header_offset + member.compress_size, member.filename
    return ""
