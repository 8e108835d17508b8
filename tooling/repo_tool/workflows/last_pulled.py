# SPDX-License-Identifier: Apache-2.0
"""What the files that a model's versions share said when it last came from, or went, elsewhere: whose change is whose.

The journal holds it, in the line of the pull: what was there, and what was published here of it, which may load more.
The line of a push tells the same, and counts for the place that was pushed to.
"""

__all__ = ["LastPulled", "note_pushed", "said"]

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.edit import remove_field
from repo_tool.config.model import VersionPolicy
from repo_tool.errors import ConfigError, NoSpaceError, RepositoryError
from repo_tool.remotes.base import Remote
from repo_tool.remotes.manifest import version_of
from repo_tool.remotes.snapshot import LocalModel
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing
from repo_tool.repository.provenance import digest_of, digest_of_bytes, read_provenance
from repo_tool.repository.stamps import unstamped

_ABSENT = ""
_PUSH = "push"
_log = logging.getLogger(__name__)
_LATEST = VersionPolicy(latest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPulled:
    """Digests by path in the model; nothing of a model that never came from elsewhere, or went to this place."""

    model: ModelDirectory
    theirs: Mapping[str, str]  # of the files as they were there
    ours: Mapping[str, str]  # what ``said`` told of them here

    @classmethod
    def of(cls, model: ModelDirectory, remote: Remote) -> "LastPulled":
        """As the journal tells: of what came from anywhere, and of what went to this remote."""
        every = Journal(ModelRepository(model.path.parent)).entries_of(model.name)
        told = [entry for entry in every if entry.action != _PUSH or entry.details.get("to") == remote.identity]
        noted = [entry.details["files"] for entry in told if _is_noted(entry.details.get("files"))]
        files: Mapping[str, list[str]] = noted[-1] if noted else {}
        return cls(
            model=model,
            theirs={path: theirs for path, (theirs, _) in files.items()},
            ours={path: ours for path, (_, ours) in files.items()},
        )

    def has_changed_here(self, path: str) -> bool:
        """Whether a file says else than when it came, or than its newest version was published with."""
        there = self.model.versions()
        now = said(self.model.path / path, newest=max(there, default=0))
        known = {self.ours.get(path, _ABSENT), self._published(path, newest=max(there, default=0))}
        return now not in known

    def details(self, theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, list[str]]:
        """What the journal is to tell next time, of files that come now and of those that stay."""
        known = {path: [digest, self.ours[path]] for path, digest in self.theirs.items()}
        return known | {path: [theirs[path], digest] for path, digest in ours.items()}

    def _published(self, path: str, *, newest: int) -> str:
        try:
            facts = read_provenance(self.model.provenance_path(newest))
        except RepositoryError:
            return _ABSENT
        texts = {"config.pbtxt": facts.get("config")} | {
            f"configs/{name}.pbtxt": text for name, text in (facts.get("configs") or {}).items()
        }
        text = texts.get(path)
        return _said_by(str(text), newest) if text else str((facts.get("shared_files") or {}).get(path, _ABSENT))


def note_pushed(models: Iterable[LocalModel], repository: ModelRepository, remote: Remote) -> None:
    """Write down in the journal, if one is kept, what the remote has now; a push that has succeeded never fails of it.

    A repository without one stays so: it may be a copy that others push to.
    """
    if not Journal(repository).path.exists():
        return
    try:
        with changing(repository):
            Journal(repository).append([entry for model in models for entry in _pushed(model, remote)])
    except (RepositoryError, NoSpaceError) as error:
        _log.warning("what was pushed is not noted in the journal: %s", error)


def _pushed(model: LocalModel, remote: Remote) -> Iterator[Entry]:
    """A line for the model, if it tells anything new; nothing of a file that has been changed since it was read."""
    last, newest = LastPulled.of(model.directory, remote), max(model.versions, default=0)
    theirs = {path: file.digest for path, file in model.files.items() if version_of(path) is None}
    same = [path for path, digest in theirs.items() if digest_of(model.path(path)) == digest]
    told = last.details(theirs, {path: said(model.path(path), newest=newest) for path in same})
    if told != last.details({}, {}):
        yield Entry(action=_PUSH, model=model.name, details={"to": remote.identity, "files": told})


def _is_noted(files: Any) -> bool:
    return isinstance(files, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)
        for pair in files.values()
    )


def said(file: Path, *, newest: int) -> str:
    """The digest of what a file says; of a configuration without stamps, and without which versions it loads.

    But for one that does not load the ``newest`` alone, or beside versions that it names: somebody meant that.
    """
    if not file.is_file():
        return _ABSENT
    if file.suffix == ".pbtxt":
        with suppress(UnicodeDecodeError):
            return _said_by(file.read_bytes().decode(), newest)
    return digest_of(file)


def _said_by(text: str, newest: int) -> str:
    words = unstamped(text)
    with suppress(ConfigError):  # for the rules to judge
        policy = pbtxt.parse(words).version_policy
        if policy is not None and (policy == _LATEST or newest in (policy.specific or ())):
            words = remove_field(words, "version_policy")
    return digest_of_bytes("\n".join(filter(None, map(str.strip, words.splitlines()))).encode())
