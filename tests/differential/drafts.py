# SPDX-License-Identifier: Apache-2.0
"""A case while it is being made, and the case itself: a few model directories and the one that is to be loaded."""

from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format


@dataclass(frozen=True)
class Link:
    """A symbolic link to ``target``."""

    target: str


@dataclass(frozen=True)
class Case:
    """One small repository that comes out the same for the same seed and number."""

    generator: str
    target: str  # the model that is loaded
    files: dict  # path in the repository -> bytes, a Link, or None for a folder
    history: tuple = ()  # what was done to a valid configuration

    def write(self, folder):
        for path, content in self.files.items():
            place = Path(folder) / path
            if content is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                place.symlink_to(content.target)
            else:
                place.write_bytes(content)

    @property
    def models(self):
        return sorted({path.split("/", 1)[0] for path in self.files})


@dataclass
class Draft:
    """A model directory under construction."""

    name: str
    config: object  # the ModelConfig message
    files: dict = field(default_factory=dict)  # beside config.pbtxt, relative to the model directory
    text: bytes | None = None  # in place of the message, once the text itself was touched
    history: list = field(default_factory=list)

    def did(self, what):
        self.history.append(what)

    def written(self):
        """The files of the model directory; a file that came to lie under another gives way."""
        content = {"config.pbtxt": self.rendered()} | self.files
        kept = {path: what for path, what in content.items() if what is not MISSING}
        blocked = {path for path in kept if any(kept.get(parent) is not None for parent in _parents(path))}
        return {f"{self.name}/{path}": what for path, what in kept.items() if path not in blocked} or {self.name: None}

    def rendered(self):
        if self.text is not None:
            return self.text
        return text_format.MessageToString(self.config, as_utf8=True).encode()


MISSING = object()  # as the content of a file: there is none


def _parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
