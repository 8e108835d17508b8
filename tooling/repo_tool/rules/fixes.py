# SPDX-License-Identifier: Apache-2.0
"""What mends a finding: edits that a rule proposes as values, and nobody has made yet."""

__all__ = ["CreateFolder", "Drafts", "Edit", "RemoveField", "SetField"]

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SetField:
    """Write a field of ``config.pbtxt``; ``value`` as protobuf text, e.g. ``-1``, ``"onnxruntime"``, ``[ 1, 2 ]``."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class RemoveField:
    """Take a field, or one value of a repeated one or of a map, out of ``config.pbtxt``."""

    path: str


@dataclass(frozen=True, slots=True)
class CreateFolder:
    """Make a folder of the model directory, with a ``.gitkeep`` so that git keeps it."""

    path: str  # relative to the model directory, e.g. `1`


Edit = SetField | RemoveField | CreateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """What files of a repository are to say and which folders it is to get, by their paths in it."""

    texts: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
