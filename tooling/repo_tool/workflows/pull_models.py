# SPDX-License-Identifier: Apache-2.0
"""``pull``: models from a repository elsewhere into one of this machine, proven by their digests, published whole."""

__all__ = ["PullRequest", "pull"]

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.near_names import did_you_mean
from repo_tool.remotes.base import Remote, open_remote
from repo_tool.remotes.manifest import Manifest, RemoteFile, RemoteModel
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.remotes.snapshot import LocalModel, snapshot
from repo_tool.remotes.transfer import Counted, send_all
from repo_tool.repository.disk import link_tree, translating_disk_errors
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by
from repo_tool.repository.provenance import digest_of, digest_of_bytes
from repo_tool.repository.publish import StagedModel, Staging, publish, rewrite, staging
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.remote_transfers import ModelTransfer, Transfers, members_first


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """What is to come from where."""

    repository: Path
    remote: str  # s3://BUCKET/FOLDER, or a folder's path
    models: tuple[str, ...] = ()  # with those that they call; none: all
    endpoint_url: str | None = None
    only_tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """One model as it is there, and as it is here."""

    name: str
    there: RemoteModel
    here: LocalModel | None

    @property
    def new_versions(self) -> tuple[int, ...]:
        return tuple(
            version for version in self.there.versions if self.here is None or version not in self.here.versions
        )

    @property
    def files(self) -> dict[str, RemoteFile]:
        """What is to be fetched: new versions, and what versions share where it is another one."""
        held = self.here.files if self.here else {}
        return {path: file for path, file in self.there.files.items() if held.get(path) != file}

    @property
    def is_ahead(self) -> bool:
        """Whether this repository has a newer version."""
        return self.here is not None and max(self.here.versions, default=0) > max(self.there.versions, default=0)

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
            version under the same number; or what arrived is not what was pushed.
        VersionExistsError: somebody publishes the same version meanwhile.
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
    names = _names(request, source, manifest)
    found = []
    for name in names:
        directory = repository.model(name)
        here = snapshot(directory) if directory.path.is_dir() else None
        version = here.differing_version(manifest) if here else None
        if version is not None:
            raise RepositoryError(
                f"version {version} of '{name}' is another one at '{request.remote}'",
                cause="a version that was published is never changed, and its files there have other digests",
                next_step="pull into another repository, or remove the model here",
            )
        found.append(_Arrival(name=name, there=manifest.models[name], here=here))
    return tuple(found)


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
    """Models by one exchange of their directories, all together; configurations alone by their words."""
    texts: dict[str, tuple[str, str]] = {}
    staged: list[StagedModel] = []
    for arrival in run.arrivals:
        found = _texts(run, stage, arrival)
        texts |= found
        if not found:
            version = max(arrival.new_versions, default=None)
            staged.append(StagedModel(directory=_completed(stage, arrival), version=version))
    if staged:
        publish(staged, run.repository, action="pull")
    if texts:
        rewrite(run.repository, texts)


def _completed(stage: Staging, arrival: _Arrival) -> ModelDirectory:
    """The staged model with the configuration that stays the same; publishing adds all else."""
    staged = stage.repository.model(arrival.name)
    if arrival.here is not None and not staged.config_path.exists():
        link_tree(arrival.here.directory.config_path, staged.config_path)
    return staged


def _texts(run: _Run, stage: Staging, arrival: _Arrival) -> Mapping[str, tuple[str, str]]:
    """By path, what stands in its configurations and what is to, if nothing else is to change; else none."""
    held = arrival.here.files if arrival.here else {}
    if not all(path.endswith(".pbtxt") and path in held for path in arrival.files):
        return {}
    new, there = stage.repository.model(arrival.name).path, run.repository.model(arrival.name).path
    return {f"{arrival.name}/{path}": ((there / path).read_text(), (new / path).read_text()) for path in arrival.files}
