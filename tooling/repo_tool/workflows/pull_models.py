# SPDX-License-Identifier: Apache-2.0
"""``pull``: models from a repository elsewhere into one of this machine, proven by their digests, published whole."""

__all__ = ["PullRequest", "pull"]

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.errors import ConfigError, RepositoryError, VersionExistsError
from repo_tool.near_names import did_you_mean
from repo_tool.remotes.base import Remote, open_remote
from repo_tool.remotes.manifest import Manifest, RemoteFile, RemoteModel, version_of
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.remotes.snapshot import LocalModel, snapshot
from repo_tool.remotes.transfer import Counted, send_all
from repo_tool.repository.disk import link_tree, translating_disk_errors
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by
from repo_tool.repository.provenance import digest_of, digest_of_bytes
from repo_tool.repository.publish import StagedModel, Staging, publish, staging
from repo_tool.repository.stamps import provenance_digest
from repo_tool.workflows.kept_versions import KeptVersions, load_besides
from repo_tool.workflows.last_pulled import LastPulled, said
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.remote_transfers import ModelTransfer, Transfers, members_first
from repo_tool.workflows.valid_together import require_valid_with


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """What is to come from where."""

    repository: Path
    remote: str  # s3://BUCKET/FOLDER, or a folder's path
    models: tuple[str, ...] = ()  # with those that they call; none: all
    endpoint_url: str | None = None
    takes_theirs: bool = False  # over what has been changed here since
    only_tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """One model as it is there, and as it is here."""

    name: str
    there: RemoteModel
    here: LocalModel | None
    last: LastPulled
    highest: int  # version that it has ever had here
    takes_theirs: bool

    @property
    def new_versions(self) -> tuple[int, ...]:
        """Those above all that are here, and were: what has been removed here stays so."""
        floor = self._newest_here if self.here is None or self.takes_theirs else max(self._newest_here, self.highest)
        return tuple(version for version in self.there.versions if version > floor)

    @property
    def versions(self) -> tuple[int, ...]:
        """Those that are here once all has come."""
        return (*(self.here.versions if self.here else ()), *self.new_versions)

    @property
    def files(self) -> dict[str, RemoteFile]:
        """What is to be fetched: new versions, and what versions share where it has become another one there."""
        new = self.new_versions
        held = self.here.files if self.here else {}
        return {
            path: file
            for path, file in self.there.files.items()
            if held.get(path) != file and (version_of(path) in new or (not version_of(path) and self._is_due(path)))
        }

    def _is_due(self, path: str) -> bool:
        is_old = self.here is not None and self.last.theirs.get(path) == self.there.files[path].digest
        return not is_old or (self.takes_theirs and (bool(self.new_versions) or self.last.has_changed_here(path)))

    @property
    def is_ahead(self) -> bool:
        """Whether this repository has a newer version than there is there, or has had one, or has removed that one."""
        newest = max(self.there.versions, default=0)
        if newest <= self._newest_here:
            return newest < self._newest_here
        return newest < self.highest or (newest == self.highest and bool(self.here) and not self.takes_theirs)

    @property
    def _newest_here(self) -> int:
        return max(self.here.versions, default=0) if self.here else 0

    def changed_twice(self) -> str | None:
        """A file that has been changed here, and there too, since they were the same."""
        if self.here is None or self.is_ahead or self.takes_theirs:
            return None
        shared = (path for path in self.files if version_of(path) is None)
        return next((path for path in shared if self.last.has_changed_here(path)), None)

    def told(self) -> ModelTransfer:
        """What becomes of it."""
        if self.is_ahead:
            return ModelTransfer(model=self.name, state="ahead")
        if not self.files:
            return ModelTransfer(model=self.name, state="unchanged")
        return ModelTransfer(
            model=self.name,
            state="changed" if self.here else "new",
            versions=self.new_versions,
            files=len(self.files),
            bytes=sum(file.size for file in self.files.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    repository: ModelRepository
    remote: Remote
    source: RemoteRepository
    arrivals: tuple[_Arrival, ...]  # members before those that call them


def pull(request: PullRequest, progress: Progress) -> Transfers:
    """Fetch what this repository lacks, prove it, and publish all of it together.

    Raises:
        RepositoryError: the remote or the repository cannot be read or written, has no such model, or holds another
            version under the same number; what arrived is not what was pushed; a file has been changed here and there;
            or one ``config.pbtxt`` cannot serve what is there and what is needed here.
        ConfigError: with what arrived, the rules find an error that they did not before.
        VersionExistsError: somebody publishes the same version meanwhile, or another one had its number here.
        NoSpaceError: the disk is full.
        MissingExtraError: boto3 is not installed.
    """
    remote = open_remote(request.remote, endpoint_url=request.endpoint_url)
    source, repository = RemoteRepository(remote), ModelRepository(request.repository)
    with progress.step("comparing") as step:
        manifest = source.existing_manifest()
        arrivals = _arrivals(request, source, repository, manifest)
        told = tuple(arrival.told() for arrival in arrivals)
        step.detail = f"{sum(each.files > 0 for each in told)} of {len(told)} models differ"
    waiting = tuple(arrival for arrival, tale in zip(arrivals, told, strict=True) if tale.files)
    if waiting and not request.only_tells:
        _fetch(_Run(repository=repository, remote=remote, source=source, arrivals=waiting), progress)
    return Transfers(remote=remote.url, models=told)


def _arrivals(
    request: PullRequest, source: RemoteRepository, repository: ModelRepository, manifest: Manifest
) -> tuple[_Arrival, ...]:
    found = [_arrival(request, source, repository, manifest, name) for name in _names(request, source, manifest)]
    for arrival in found:
        _require_unchanged_here(arrival)
    return tuple(found)


def _arrival(
    request: PullRequest, source: RemoteRepository, repository: ModelRepository, manifest: Manifest, name: str
) -> _Arrival:
    directory = repository.model(name)
    here = snapshot(directory) if directory.path.is_dir() else None
    version = here.differing_version(manifest) if here else None
    if version is not None:
        raise RepositoryError(
            f"version {version} of '{name}' is another one at '{request.remote}'",
            cause="a version that was published is never changed, and its files there have other digests",
            next_step="pull into another repository, or remove the model here",
        )
    return _Arrival(
        name=name,
        there=manifest.models[name],
        here=here,
        last=LastPulled.of(directory, source.remote),
        highest=Journal(repository).highest_version(name),
        takes_theirs=request.takes_theirs,
    )


def _require_unchanged_here(arrival: _Arrival) -> None:
    path = arrival.changed_twice()
    if path is not None:
        raise RepositoryError(
            f"'{path}' of '{arrival.name}' has been changed here, and there too",
            cause="it says else than when it was pulled or published last, as after a rollback or an edit",
            next_step="have what is there in its place: --take-theirs; or pull other models by their names",
        )


def _names(request: PullRequest, source: RemoteRepository, manifest: Manifest) -> tuple[str, ...]:
    """What was asked for and what it calls, members first."""
    for name in request.models:
        if name not in manifest.models:
            raise RepositoryError(
                f"no model '{name}' at '{request.remote}'",
                cause=f"there are {', '.join(sorted(manifest.models)) or 'none'}",
                next_step=did_you_mean(name, sorted(manifest.models)) or "check the name",
            )
    called: dict[str, tuple[str, ...]] = {}
    waiting = list(request.models or manifest.models)
    while waiting:
        name = waiting.pop()
        if name not in called and name in manifest.models:
            called[name] = _called_by(source, manifest.models[name])
            waiting += called[name]
    return members_first(called)


def _called_by(source: RemoteRepository, model: RemoteModel) -> tuple[str, ...]:
    file = model.files.get("config.pbtxt")
    stored = source.remote.read(source.blob(file.digest)) if file else None
    if file is None or stored is None or digest_of_bytes(stored.content) != file.digest:
        return ()  # it is told when it is fetched
    try:
        return called_by(pbtxt.parse(stored.content.decode()))
    except (ConfigError, UnicodeDecodeError):
        return ()


def _fetch(run: _Run, progress: Progress) -> None:
    with staging(run.repository) as stage, translating_disk_errors(run.repository.path):
        with progress.step("fetching") as step:

            def tell(words: str) -> None:
                step.detail = words

            files = [file for arrival in run.arrivals for file in arrival.files.values()]
            counted = Counted(files=len(files), bytes=sum(file.size for file in files), tell=tell)
            tasks = [
                partial(_download, run, stage, arrival, path, counted)
                for arrival in run.arrivals
                for path in arrival.files
            ]
            send_all(tasks, at_once=run.remote.at_once)
        with progress.step("publishing") as step:
            for arrival in run.arrivals:
                _require_proven(stage.repository.model(arrival.name), arrival)
            _publish(run, stage)
            step.detail = ", ".join(arrival.name for arrival in run.arrivals)


def _download(run: _Run, stage: Staging, arrival: _Arrival, path: str, counted: Counted) -> None:
    """Fetch one file; one that this repository has in another version is not sent again."""
    file = arrival.files[path]
    target = stage.repository.model(arrival.name).path / path
    target.parent.mkdir(parents=True, exist_ok=True)
    held = _held(arrival.here, file)
    if held is not None:
        link_tree(held, target)
        counted.arrived(file.size)
    else:
        place = run.source.source(arrival.name, path, file.digest)
        run.remote.download(place, target, counted.arrived)
    if digest_of(target) != file.digest:
        raise RepositoryError(
            f"'{path}' of '{arrival.name}' at '{run.remote.url}' is not what was pushed",
            cause=f"it is to have {file.digest} and has {digest_of(target)}",
            next_step="push the model again from where it is whole",
        )
    counted.file_arrived()


def _held(here: LocalModel | None, file: RemoteFile) -> Path | None:
    """A file of this repository with the same bytes."""
    found = (path for path, known in (here.files if here else {}).items() if known == file)
    return next((here.path(path) for path in found if here is not None), None)


def _require_proven(staged: ModelDirectory, arrival: _Arrival) -> None:
    """What was published there is what is published here, file by file; publishing proves the newest itself."""
    for version in arrival.new_versions[:-1]:
        require_intact(staged, version)


def _publish(run: _Run, stage: Staging) -> None:
    """All by one change, if with it the rules find no error that they did not before."""
    unions = [_union(run, stage, arrival) for arrival in run.arrivals]
    staged = [_staged(stage, arrival) for arrival in run.arrivals]
    require_valid_with([model.directory for model in staged], run.repository, stage.work_path / "preview")

    def require() -> None:
        for arrival, kept in zip(run.arrivals, unions, strict=True):
            _require_as_compared(arrival)
            kept.require_unchanged()

    entries = [entry for arrival in run.arrivals for entry in _entries(run, stage, arrival)]
    try:
        publish(staged, run.repository, require=require, entries=entries)
    except VersionExistsError as error:
        step = "run the command again; if it is refused again, pull into another repository"
        raise VersionExistsError(error.fact, cause=error.cause, next_step=step) from error


def _staged(stage: Staging, arrival: _Arrival) -> StagedModel:
    return StagedModel(directory=stage.repository.model(arrival.name), version=max(arrival.new_versions, default=None))


def _union(run: _Run, stage: Staging, arrival: _Arrival) -> KeptVersions:
    """Let the staged configurations load what is needed here besides, and tell what was needed when this was read."""
    staged, there = stage.repository.model(arrival.name), run.repository.model(arrival.name)
    kept = KeptVersions.of(there)
    for path in _configs_of(arrival):
        if not (staged.path / path).exists():
            (staged.path / path).parent.mkdir(exist_ok=True)
            link_tree(there.path / path, staged.path / path)
    replaced = {each.name for each in run.arrivals if "config.pbtxt" in each.files}
    needed = kept.without_askers(replaced)
    if needed:
        with suppress(ConfigError):  # for the rules to judge
            load_besides(needed, staged, arrival.versions)
    return kept


def _configs_of(arrival: _Arrival) -> list[str]:
    """Those that there are here, which publishing would add only where none is staged: all are to load the same."""
    held = arrival.here.files if arrival.here else {}
    return [
        path for path in held if path == "config.pbtxt" or (path.startswith("configs/") and path.endswith(".pbtxt"))
    ]


def _require_as_compared(arrival: _Arrival) -> None:
    """What versions share here is what it was when it was compared."""
    for path, file in (arrival.here.files if arrival.here else {}).items():
        place = arrival.last.model.path / path
        if version_of(path) is None and not (place.is_file() and digest_of(place) == file.digest):
            raise RepositoryError(
                f"'{place}' has been changed meanwhile",
                cause="it is not what it was when the command began",
                next_step="run the command again",
            )


def _entries(run: _Run, stage: Staging, arrival: _Arrival) -> Iterator[Entry]:
    """A line for each version that comes, the last of which tells of the files that versions share."""
    staged = stage.repository.model(arrival.name)
    *earlier, last = arrival.new_versions or (None,)
    for version in earlier:
        digest = provenance_digest(staged, version) or ""
        yield Entry(action="pull", model=arrival.name, version=version, digest=digest, details={"from": run.remote.url})
    newest = max(arrival.versions, default=0)
    shared = [path for path in arrival.files if version_of(path) is None]
    theirs = {path: arrival.there.files[path].digest for path in shared}
    ours = {path: said(staged.path / path, newest=newest) for path in shared}
    yield Entry(
        action="pull",
        model=arrival.name,
        version=last,
        digest=(provenance_digest(staged, last) or "") if last else "",
        details={"from": run.remote.url, "files": arrival.last.details(theirs, ours)},
    )
