# SPDX-License-Identifier: Apache-2.0
"""What a repository elsewhere holds: its pointer, ``manifest.json``, which is switched when all that it names is there.

It lies beside the repository's folder, as all of ours does: ``.<name>.repo-tool/manifest.json``.
"""

__all__ = ["Manifest", "RemoteFile", "RemoteModel", "Unfinished", "digest_of_model", "digest_of_version", "version_of"]

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from repo_tool.errors import ModelNameError
from repo_tool.repository.journal import who
from repo_tool.repository.layout import check_model_name
from repo_tool.repository.provenance import digest_of_bytes

SCHEMA = 1
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a model."""

    digest: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model that is there whole."""

    files: Mapping[str, RemoteFile]  # by their paths in the model's directory
    by: str = field(default_factory=who)
    at: str = field(default_factory=_now)

    @property
    def versions(self) -> tuple[int, ...]:
        """Its versions, ascending."""
        return tuple(sorted({version for path in self.files if (version := version_of(path))}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A push of one model that has begun: nobody else pushes it meanwhile, but for who has the very same files."""

    digest: str = ""  # of the model that it brings
    removing: tuple[str, ...] = ()  # the files that it, or one before it that was cut off, removes
    by: str = field(default_factory=who)
    at: str = field(default_factory=_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that is there, and what is on its way, by model."""

    models: Mapping[str, RemoteModel] = field(default_factory=dict)
    unfinished: Mapping[str, Unfinished] = field(default_factory=dict)
    removed: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # what the numbers that are gone stood for

    def claiming(self, models: Mapping[str, Mapping[str, RemoteFile]]) -> "Manifest":
        """With these models on their way, by name and their files; what else was to be removed of them still is."""
        claims = {
            name: Unfinished(digest=digest_of_model(files), removing=self._removing(name, but=files))
            for name, files in models.items()
        }
        return replace(self, unfinished={**self.unfinished, **claims})

    def finished(self, models: Mapping[str, RemoteModel]) -> "Manifest":
        """With these models there, and no longer on their way."""
        after = replace(self, models={**self.models, **models})
        return after._with_removals({name: self._removing(name, but=model.files) for name, model in models.items()})

    def removing(self, lost: Mapping[str, Sequence[str]]) -> "Manifest":
        """Without these files of these models, which are on their way out with those that are already."""
        models = {name: _without(model, lost.get(name, ())) for name, model in self.models.items()}
        there = {name: model for name, model in models.items() if model.files}
        gone = {name: {**self.removed.get(name, {}), **_lost(self.models[name], models[name])} for name in lost}
        after = replace(self, models=there, removed={**self.removed, **gone})
        return after._with_removals({name: (*self._removing(name, but=paths), *paths) for name, paths in lost.items()})

    def without_removals(self, done: Mapping[str, Collection[str]]) -> "Manifest":
        """With these files of models gone, and others of them, that somebody removes since, still on their way out."""
        left = {name: self._removing(name, but=paths) for name, paths in done.items()}
        pushed = {name: self.unfinished[name] for name in done if name in self.unfinished}
        claims = {name: replace(claim, removing=left[name]) for name, claim in pushed.items() if claim.digest}
        after = self._with_removals(left)
        return replace(after, unfinished={**after.unfinished, **claims})

    def _removing(self, name: str, *, but: Collection[str]) -> tuple[str, ...]:
        claim = self.unfinished.get(name)
        return tuple(path for path in claim.removing if path not in but) if claim else ()

    def _with_removals(self, removals: Mapping[str, tuple[str, ...]]) -> "Manifest":
        """With nothing else of these models on its way."""
        others = {name: claim for name, claim in self.unfinished.items() if name not in removals}
        claims = {name: Unfinished(removing=paths) for name, paths in removals.items() if paths}
        return replace(self, unfinished={**others, **claims})

    def to_bytes(self) -> bytes:
        """As JSON."""
        return (json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """What ``to_bytes`` made.

        Raises:
            ValueError: it is none, that of a newer repo-tool, or names what no repository can hold.
        """
        facts = json.loads(content)
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            raise ValueError(f"it is no manifest of schema {SCHEMA}, which this repo-tool reads")
        try:
            models = {_name(name): _model(known) for name, known in facts["models"].items()}
            unfinished = {_name(name): _unfinished(known) for name, known in facts["unfinished"].items()}
            removed = {_name(name): _removed(known) for name, known in facts.get("removed", {}).items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it lacks what a manifest has: {error}") from error
        return cls(models=models, unfinished=unfinished, removed=removed)


def _name(name: str) -> str:
    try:
        return check_model_name(name)
    except ModelNameError as error:
        raise ValueError(f"{name!r} is no model's name") from error


def _model(known: Mapping[str, Any]) -> RemoteModel:
    files = {_path(path): RemoteFile(**file) for path, file in known["files"].items()}
    for file in files.values():
        if not _DIGEST.fullmatch(file.digest):
            raise ValueError(f"{file.digest!r} is no digest")
    return RemoteModel(files=files, by=known["by"], at=known["at"])


def _path(path: str) -> str:
    """``path``, which comes from elsewhere, if it names a file of the model's directory, and nothing above it.

    Raises:
        ValueError: it does not.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or PurePosixPath(path).as_posix() != path:
        raise ValueError(f"{path!r} is no file of a model")
    return path


def _without(model: RemoteModel, paths: Sequence[str]) -> RemoteModel:
    return replace(model, files={path: file for path, file in model.files.items() if path not in paths})


def _lost(before: RemoteModel, after: RemoteModel) -> dict[int, str]:
    """The versions that are no longer there, by number, and what they held."""
    return {each: digest_of_version(before.files, each) for each in before.versions if each not in after.versions}


def _removed(known: Mapping[str, str]) -> dict[int, str]:
    return {int(version): digest for version, digest in known.items()}


def _unfinished(known: Mapping[str, Any]) -> Unfinished:
    return Unfinished(**{**known, "removing": tuple(_path(path) for path in known["removing"])})


def version_of(path: str) -> int | None:
    """The version whose folder a file of a model lies in; None for what all versions share."""
    first, slash, _ = path.partition("/")
    return int(first) if slash and first.isascii() and first.isdecimal() and not first.startswith("0") else None


def digest_of_version(files: Mapping[str, RemoteFile], version: int) -> str:
    """The digest of the names and contents of one of a model's versions."""
    return digest_of_model({path: file for path, file in files.items() if version_of(path) == version})


def digest_of_model(files: Mapping[str, RemoteFile]) -> str:
    """The digest of names and contents."""
    return digest_of_bytes("".join(f"{path}\0{files[path].digest}\n" for path in sorted(files)).encode())
