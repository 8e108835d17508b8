# SPDX-License-Identifier: Apache-2.0
"""Damaged and missing files of published versions, brought back from where they were pushed to.

What a file was is told here: the journal and the stamps have the digest of a version's ``provenance.json``, which has
those of its files. The remote is only asked for bytes of these digests, and each of them is proven when it has arrived.
"""

__all__ = ["Place", "restore"]

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from repo_tool.errors import ConfigError, RepositoryError, UserMistakeError
from repo_tool.remotes.base import Remote, open_remote
from repo_tool.remotes.manifest import RemoteFile, RemoteModel, version_of
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.repository.disk import (
    fit_onto,
    require_fit,
    require_inside,
    sync,
    sync_folder,
    sync_folders,
    translating_disk_errors,
)
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing
from repo_tool.repository.moves import Change, Move, fingerprint, make
from repo_tool.repository.provenance import PROVENANCE_FILE, digest_of, digests_of, read_provenance
from repo_tool.repository.staging import Staging, staging, withdrawn_folder
from repo_tool.repository.stamps import provenance_digest, stamps_of
from repo_tool.workflows.fsck_findings import RESTORABLE, Finding, journaled_versions
from repo_tool.workflows.progress import Progress

_NOTHING_TO_FETCH = (
    "its files are what the journal and provenance.json name; where a configuration names another digest, take that "
    "line out, and --repair writes the right one"
)
_Whys = dict[int | None, str]  # by version, why not all of it came back; None: what all versions share


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A repository elsewhere, as its pointer tells it."""

    remote: Remote
    models: Mapping[str, RemoteModel]

    @classmethod
    def at(cls, address: str, *, endpoint_url: str | None) -> "Place":
        """What was pushed to an address that ``pull`` takes.

        Raises:
            RepositoryError: it is none, cannot be reached, or nothing was pushed to it.
            MissingExtraError: boto3 is needed and not installed.
        """
        remote = open_remote(address, endpoint_url=endpoint_url)
        return cls(remote=remote, models=RemoteRepository(remote).existing_manifest().models)


def restore(
    repository: ModelRepository, place: Place, findings: Sequence[Finding], progress: Progress
) -> dict[Finding, str]:
    """Bring back what ``place`` has of it, each model by one change, and tell why the rest could not be.

    The model as it was before is kept beside the repository for some days. Nothing that others put there goes.
    """
    failures: dict[Finding, str] = {}
    with progress.step("fetch what is damaged") as step:
        lost = [finding for finding in findings if finding.kind in RESTORABLE and finding.model]
        for name in dict.fromkeys(finding.model for finding in lost):
            step.detail = name
            of_it = [finding for finding in lost if finding.model == name]
            try:
                whys = _restore_model(repository, place, name, of_it)
            except (OSError, UserMistakeError) as error:
                whys = {finding.version: str(error) for finding in of_it}
            failures |= {each: whys[each.version] for each in of_it if whys.get(each.version)}
        step.detail = f"{len(failures)} not there" if failures else ""
    return failures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    place: Place
    model: ModelDirectory  # as it is here
    staged: ModelDirectory  # what comes
    noted: Mapping[int, str]  # the digests of the provenances, by version, as the journal tells

    @property
    def known(self) -> Mapping[str, RemoteFile]:
        """What the remote has of the model."""
        there = self.place.models.get(self.model.name)
        return there.files if there else {}

    def record(self, version: int) -> ModelDirectory:
        """Which of both has the provenance that counts."""
        return self.staged if self.staged.provenance_path(version).is_file() else self.model


def _restore_model(repository: ModelRepository, place: Place, name: str, findings: Sequence[Finding]) -> _Whys:
    with staging(repository) as stage, translating_disk_errors(repository.path):
        run = _Run(
            place=place,
            model=repository.existing_model(name),
            staged=stage.repository.model(name),
            noted=journaled_versions(Journal(repository).entries_of(name)).get(name, {}),
        )
        run.staged.path.mkdir()
        versions = sorted({finding.version for finding in findings if finding.version is not None})
        whys: _Whys = {version: _stage_version(run, version) for version in versions}
        whys[None] = _stage_shared(run, [finding for finding in findings if finding.version is None])
        if any(run.staged.path.iterdir()):
            _put_in_place(repository, run, stage)
    return whys


def _stage_version(run: _Run, version: int) -> str:
    """Fetch what is damaged or missing of a version; a whole one that is gone comes whole or not at all."""
    folder = run.model.version_path(version)
    is_gone = not folder.is_dir()
    why = _stage_record(run, version) or _stage_files(run, version, {} if is_gone else digests_of(folder))
    if why and is_gone:
        shutil.rmtree(run.staged.version_path(version), ignore_errors=True)
    return why or ("" if run.staged.version_path(version).is_dir() else _NOTHING_TO_FETCH)


def _stage_record(run: _Run, version: int) -> str:
    digest = run.noted.get(version) or _stamp(run.model, version)
    if digest in ("", provenance_digest(run.model, version)):
        return ""
    return _fetch(run, f"{version}/{PROVENANCE_FILE}", digest)


def _stamp(model: ModelDirectory, version: int) -> str:
    """The digest that the configurations name; empty where none does, or not all the same."""
    found: set[str] = set()
    for variant in ("", *model.variants()):
        with suppress(RepositoryError, ConfigError):  # a finding of its own
            found.add(stamps_of(model.read_config(variant)).get(version, ""))
    digests = found - {""}
    return digests.pop() if len(digests) == 1 else ""


def _stage_files(run: _Run, version: int, there: Mapping[str, str]) -> str:
    try:
        recorded: Mapping[str, str] = read_provenance(run.record(version).provenance_path(version)).get("files") or {}
    except RepositoryError as error:
        return f"nothing here tells what it was: {error.cause}"
    if not (recorded or there):
        return "its provenance.json names no file"
    whys = [_fetch(run, f"{version}/{name}", digest) for name, digest in recorded.items() if there.get(name) != digest]
    return next(filter(None, whys), "")


def _stage_shared(run: _Run, findings: Sequence[Finding]) -> str:
    """Fetch what all versions share, as the newest one recorded it; configurations are no files of a version."""
    newest = max(run.model.versions(), default=0)
    if not findings or not run.record(newest).provenance_path(newest).is_file():
        return ""
    with suppress(RepositoryError):  # told of the version
        recorded = read_provenance(run.record(newest).provenance_path(newest)).get("shared_files") or {}
        names = [finding.path.relative_to(run.model.path).as_posix() for finding in findings]
        whys = [_fetch(run, name, recorded[name]) for name in names if name in recorded and not name.endswith(".pbtxt")]
        return next(filter(None, whys), "")
    return ""


def _fetch(run: _Run, path: str, digest: str) -> str:
    """Stage the bytes of this digest as a file of the model; why they are not there, or empty."""
    same = (place for place in (path, *run.known) if place in run.known and run.known[place].digest == digest)
    found = next(same, None)
    if found is None:
        return f"'{run.place.remote.url}' has no '{path}' of '{run.model.name}' with {digest}"
    target = run.staged.path / path
    require_inside(target, run.staged.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = RemoteRepository(run.place.remote).source(run.model.name, found, digest)
    run.place.remote.download(source, target, lambda _: None)
    if digest_of(target) == digest:
        return ""
    target.unlink()
    return f"'{found}' of '{run.model.name}' at '{run.place.remote.url}' is not what was pushed"


def _put_in_place(repository: ModelRepository, run: _Run, stage: Staging) -> None:
    """Let the model with what came, and with all else as it is, take the place of the damaged one, at once.

    Raises:
        RepositoryError: it has been changed meanwhile, or a link or a folder stands where a file belongs.
    """
    name, gone = run.model.name, set(run.staged.versions()) - set(run.model.versions())
    sync(run.staged.path)
    for folder in (stage.repository.path, *stage.path.parents[:3]):
        sync_folder(folder)
    with changing(repository):
        _require_as_found(run, gone)
        require_fit(run.staged.path, run.model.path)
        entries = tuple(_entries(run))
        seen = fingerprint(run.model.path)
        fit_onto(run.staged.path, run.model.path)
        sync_folders(run.staged.path)
        move = Move(
            model=name,
            seen=seen,
            made=fingerprint(run.staged.path),
            inode=run.staged.path.stat().st_ino,
            kept=(withdrawn_folder(repository) / name).relative_to(repository.private_path).as_posix(),
        )
        make(Change(moves=(move,), entries=entries), stage.path, repository)


def _require_as_found(run: _Run, gone: set[int]) -> None:
    if run.model.path.is_symlink():
        raise RepositoryError(
            f"'{run.model.path}' is a link",
            cause=f"it leads to '{run.model.path.resolve()}', which others may use too",
            next_step="mend it there",
        )
    there = set(run.model.versions())
    if there & gone or set(run.staged.versions()) - gone - there:
        raise RepositoryError(
            f"'{run.model.name}' has been changed meanwhile",
            cause="other versions are there than a moment ago",
            next_step="run the command again",
        )


def _entries(run: _Run) -> Iterator[Entry]:
    """A line for each version, and one for what all share."""
    files = [path.relative_to(run.staged.path).as_posix() for path in run.staged.path.rglob("*") if path.is_file()]
    by_version: dict[int | None, list[str]] = {}
    for path in sorted(files):
        by_version.setdefault(version_of(path), []).append(path)
    for version, paths in by_version.items():
        yield Entry(
            action="restore",
            model=run.model.name,
            version=version,
            digest=(provenance_digest(run.record(version), version) or "") if version else "",
            details={"from": run.place.remote.url, "paths": paths},
        )
