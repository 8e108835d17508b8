# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a repository and with what lies beside it, looked for one thing at a time."""

__all__ = ["RESTORABLE", "Finding", "Repair", "beside_findings", "journaled_versions", "model_findings"]

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.integrity import Problem, problems, shared_problems
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.labels import Labels, labels_path
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.leftovers import leftovers
from repo_tool.repository.pins import pins_of
from repo_tool.repository.stamps import due_stamps, provenance_digest, stamps_of
from repo_tool.workflows.served_as_published import config_problems

_THERE = ("publish", "pull", "found")  # bring a version, also one without a provenance; others tell its digest
_GONE = ("remove", "withdraw", "missing")  # and those after which it, or all that the details tell, need not be there
_PUT_BACK = "put back what was published, or publish a new version"
_BRING_BACK = f"repo-tool fsck --repair --from PLACE, where it was pushed to; else {_PUT_BACK}"
RESTORABLE = ("changed", "missing", "damaged", "stamp", "gone")  # by the bytes that a remote has
_IF_NOT_MEANT = "nothing, if it was meant; else repo-tool rollback MODEL --to VERSION writes what was published"
_ANYONE_WRITES = stat.S_IWOTH
_OWNER_READS = stat.S_IRUSR

Repair = Literal["", "settle", "truncate", "note", "restamp", "unlabel", "chmod"]
_REPAIRS: dict[Repair, str] = {
    "": "",
    "settle": "finishes what was noted as begun, and removes the staging folder",
    "truncate": "cuts the line off, which was never written whole",
    "note": "writes it down in the journal",
    "restamp": "stamps it; a server that loads the model again reloads its versions",
    "unlabel": "takes the label away",
    "chmod": "takes that right away, or gives the owner back his",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, where, and what ``--repair`` would do about it."""

    kind: str
    path: Path
    words: str
    model: str = ""
    version: int | None = None
    label: str = ""
    repair: Repair = ""
    next_step: str = ""

    @property
    def severity(self) -> Literal["error", "warning"]:
        """A warning is what a person may have meant, so that nothing is damaged."""
        return "warning" if self.kind == "edited" else "error"

    @property
    def remedy(self) -> str:
        """What ``--repair`` does, or what a person can do."""
        return "; ".join(filter(None, (_REPAIRS[self.repair], self.next_step)))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        plain = {name: value for name, value in asdict(self).items() if name != "next_step"}
        return {**plain, "path": str(self.path), "severity": self.severity, "remedy": self.remedy}


def model_findings(model: ModelDirectory) -> Iterator[Finding]:
    """Of a model's own files; reads every byte of it."""
    yield from _rights(model)
    for version in model.versions():
        yield from (_of(problem, model, version) for problem in problems(model, version))
    yield from (_of(problem, model) for problem in (*shared_problems(model), *config_problems(model)))
    yield from _missing_stamps(model)


def _of(problem: Problem, model: ModelDirectory, version: int | None = None) -> Finding:
    step = _BRING_BACK if _is_named(problem) else _PUT_BACK
    if problem.kind == "edited":
        step = _IF_NOT_MEANT
    return Finding(
        kind=problem.kind, path=problem.path, words=problem.words, model=model.name, version=version, next_step=step
    )


def _is_named(problem: Problem) -> bool:
    """Whether a provenance tells the digest of the file, as it does of all but configurations."""
    return problem.kind in RESTORABLE and (problem.kind == "stamp" or problem.path.suffix != ".pbtxt")


def _missing_stamps(model: ModelDirectory) -> Iterator[Finding]:
    """Versions that a configuration loads without telling which bytes are meant."""
    for variant in ("", *model.variants()):
        with suppress(RepositoryError, ConfigError):  # a rule's matter, and Triton's
            config, path = model.read_config(variant), model.served_config_path(variant)
            unstamped = due_stamps(model, config).keys() - stamps_of(config).keys()
            if unstamped:
                words = f"does not tell which bytes {_numbers(unstamped)} made of"
                yield Finding(kind="unstamped", path=path, words=words, model=model.name, repair="restamp")


def _rights(model: ModelDirectory) -> Iterator[Finding]:
    for place, folders, files in os.walk(model.path):
        for path in (Path(place), *(Path(place, name) for name in files)):
            words = _odd_rights(path)
            if words:
                yield Finding(kind="permissions", path=path, words=words, model=model.name, repair="chmod")
        folders.sort()


def _odd_rights(path: Path) -> str:
    try:
        status = path.lstat()
    except OSError:
        return ""
    if stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_mode & _ANYONE_WRITES:
        return "may be changed by every user of this machine"
    wanted = _OWNER_READS | (stat.S_IXUSR if stat.S_ISDIR(status.st_mode) else 0)
    if status.st_uid == os.geteuid() and status.st_mode & wanted != wanted:
        return "may not be read by its owner"
    return ""


def beside_findings(repository: ModelRepository) -> Iterator[Finding]:
    """Of what lies beside the repository, against what is in it; quick."""
    yield from _leftovers(repository)
    yield from _private_rights(repository)
    yield from _journal(repository)
    yield from _labels(repository)
    if repository.path.is_dir():
        yield from _pins(repository)


def _leftovers(repository: ModelRepository) -> Iterator[Finding]:
    for left in leftovers(repository):
        if left.is_noted:
            words = "holds a change that has begun and was cut off"
            yield Finding(kind="unfinished", path=left.path, words=words, repair="settle")
        else:
            words = "was left by a command that is gone"
            yield Finding(kind="left over", path=left.path, words=words, repair="settle")


def _private_rights(repository: ModelRepository) -> Iterator[Finding]:
    folder = repository.private_path
    for path in (folder, *sorted(folder.glob("*"))) if folder.is_dir() else ():
        words = _odd_rights(path)
        if words:
            yield Finding(kind="permissions", path=path, words=words, repair="chmod")


def _journal(repository: ModelRepository) -> Iterator[Finding]:
    journal = Journal(repository)
    if not journal.path.exists():
        return
    if not os.access(journal.path, os.R_OK):
        words, step = "may not be read by this user", "run fsck as its owner, or let others read it (chmod)"
        yield Finding(kind="journal", path=journal.path, words=words, next_step=step)
        return
    for line in journal.faulty_lines():
        words = f"line {line} is no entry"
        yield Finding(kind="journal", path=journal.path, words=words, next_step="look at it; what it told is not known")
    content = journal.path.read_bytes()
    if content and not content.endswith(b"\n"):
        words = "its last line was cut off"
        yield Finding(kind="journal", path=journal.path, words=words, repair="truncate")
    noted = journaled_versions(journal.entries())
    for name in sorted(noted):
        with suppress(RepositoryError):  # a name that no model can have
            yield from _against(repository.model(name), noted[name])


def journaled_versions(entries: Iterable[Entry]) -> dict[str, dict[int, str]]:
    """By model and version, the digests of what was published and has not been removed since."""
    noted: dict[str, dict[int, str]] = {}
    for entry in entries:
        versions = noted.setdefault(entry.model, {})
        if entry.action in _GONE:
            for version in entry.details.get("versions") or [entry.version]:
                versions.pop(version, None)
        elif entry.version is not None and (entry.digest or entry.action in _THERE):
            versions[entry.version] = entry.digest
    return noted


def _against(model: ModelDirectory, noted: Mapping[int, str]) -> Iterator[Finding]:
    """The folders of a model against the journal; versions older than its first line may be a person's or Git's."""
    there = model.versions()
    for version in sorted(noted.keys() - set(there)):
        yield Finding(
            kind="gone",
            path=model.version_path(version),
            words="was published, is not there, and nothing tells who removed it",
            model=model.name,
            version=version,
            repair="note",
            next_step="with --from PLACE, where it was pushed to, it comes back",
        )
    for version in there:
        path = model.version_path(version)
        if noted.get(version) and provenance_digest(model, version) != noted[version]:
            yield _against_record(model, version)
        elif version not in noted and version > min(noted, default=version):
            words = "is there, and the journal does not tell who published it"
            yield Finding(kind="unrecorded", path=path, words=words, model=model.name, version=version, repair="note")


def _against_record(model: ModelDirectory, version: int) -> Finding:
    path = model.provenance_path(version)
    is_there = path.is_file()
    return Finding(
        kind="changed" if is_there else "missing",
        path=path,
        words="is not the one that was published, by the journal" if is_there else "is missing, by the journal",
        model=model.name,
        version=version,
        next_step=_BRING_BACK,
    )


def _labels(repository: ModelRepository) -> Iterator[Finding]:
    path = labels_path(repository)
    try:
        by_model = Labels.of(repository).by_model
    except RepositoryError as error:
        yield Finding(kind="labels", path=path, words=f"does not read: {error.cause}", next_step=error.next_step)
        return
    for name, labels in sorted(by_model.items()):
        with suppress(RepositoryError):
            model = repository.model(name)
            for label, version in sorted(labels.items()):
                yield from _label(model, label, version, path)


def _label(model: ModelDirectory, label: str, version: int, path: Path) -> Iterator[Finding]:
    there = model.versions()
    if version not in there:
        words = f"'{label}' of '{model.name}' points at version {version}, which is not there"
        yield Finding(
            kind="label", path=path, words=words, model=model.name, version=version, label=label, repair="unlabel"
        )
        return
    with suppress(RepositoryError, ConfigError):
        if version not in served_versions(model.read_config().version_policy, there):
            words = f"'{label}' of '{model.name}' points at version {version}, which config.pbtxt does not load"
            step = f"repo-tool promote {model.name} --version {version} --label {label}, or load it by version_policy"
            yield Finding(
                kind="label", path=path, words=words, model=model.name, version=version, label=label, next_step=step
            )


def _pins(repository: ModelRepository) -> Iterator[Finding]:
    for asking in repository.models():
        with suppress(RepositoryError, ConfigError):
            for name, version in sorted(pins_of(asking.read_config()).items()):
                words, step = _pinned(repository.nearest(name), version, asking.name)
                if words:
                    words = f"asks for version {version} of '{name}', {words}"
                    yield Finding(kind="pin", path=asking.config_path, words=words, model=asking.name, next_step=step)


def _pinned(model: ModelDirectory, version: int, asker: str) -> tuple[str, str]:
    """Why a model cannot answer with the version that it is asked for, and what to do; empty where it can."""
    there = model.versions()
    if version not in there:
        return "which is not there", f"bring that version back, or publish '{asker}' again"
    with suppress(RepositoryError, ConfigError):  # told of the model itself
        if version not in served_versions(model.read_config().version_policy, there):
            return "which config.pbtxt does not load", f"load it by version_policy, or publish '{asker}' again"
    return "", ""


def _numbers(versions: "set[int]") -> str:
    told = ", ".join(map(str, sorted(versions)))
    return f"versions {told} are" if len(versions) > 1 else f"version {told} is"
