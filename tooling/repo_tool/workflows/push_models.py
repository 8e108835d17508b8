# SPDX-License-Identifier: Apache-2.0
"""``push`` and ``sync``: a repository of this machine to one elsewhere, whose pointer is switched last.

Whoever reads the remote sees each model as it was or as it is to be: versions are new folders, which the configuration
that is there does not load; what all versions share, and configurations, come after them, members before ensembles; the
pointer comes last. A push that was cut off leaves the remote serving what it served, and the next one sends only what
is missing.
"""

__all__ = ["PushRequest", "push"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.remotes.base import Remote, open_remote
from repo_tool.remotes.manifest import Manifest, RemoteFile, RemoteModel, Unfinished, version_of
from repo_tool.remotes.repository import RemoteRepository
from repo_tool.remotes.snapshot import LocalModel, snapshot
from repo_tool.remotes.transfer import Counted, send_all
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import called_by
from repo_tool.workflows.last_pulled import note_pushed
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.remote_transfers import ModelTransfer, Transfers, held_config, members_first


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """What is to go where."""

    repository: Path
    remote: str  # s3://BUCKET/FOLDER, or a folder's path
    models: tuple[str, ...] = ()  # with those that they call; none: all
    endpoint_url: str | None = None
    removes: bool = False  # what the repository has not; only with all models
    may_empty: bool = False  # ``removes`` when the repository has no model at all
    takes_over: bool = False  # pushes of others that were not finished
    only_tells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    request: PushRequest
    remote: Remote
    target: RemoteRepository
    local: Mapping[str, LocalModel]  # members before those that call them


def push(request: PushRequest, progress: Progress) -> Transfers:
    """Bring models to the remote, with ``removes`` so that it holds nothing else.

    Raises:
        RepositoryError: the repository or the remote cannot be read or written; a version is not as published, or
            another one there; somebody else's push is not finished; a newer version is there; or the remote is a
            folder that is published to.
        ModelNameError: a model has no name that it can have.
        NoSpaceError: the remote is a folder on a full disk.
        MissingExtraError: boto3 is not installed.
    """
    remote = open_remote(request.remote, endpoint_url=request.endpoint_url)
    remote.require_apart(ModelRepository(request.repository))
    run = _Run(request=request, remote=remote, target=RemoteRepository(remote), local=_read_models(request, progress))
    manifest, waiting = _compared(run, progress)
    gone = _gone(run, manifest)
    if request.only_tells:
        told = [_foretold(run, model, manifest) for model in run.local.values()]
        return Transfers(remote=remote.url, models=(*told, *gone))
    sent = _send(run, waiting, progress) if waiting else {}
    note_pushed(run.local.values(), ModelRepository(request.repository), remote)
    if request.removes:
        _remove(run, manifest, gone, progress)
    told = [sent.get(name) or ModelTransfer(model=name, state="unchanged") for name in run.local]
    return Transfers(remote=remote.url, models=(*told, *gone))


def _compared(run: _Run, progress: Progress) -> tuple[Manifest, Mapping[str, LocalModel]]:
    """What is there, and the models that it lacks or has otherwise."""
    with progress.step("comparing") as step:
        manifest = run.target.manifest()
        _require_models(run, manifest)
        _require_compatible(run, manifest)
        waiting = {name: model for name, model in run.local.items() if _differs(model, manifest)}
        if not run.request.takes_over:
            _require_pushed(run, waiting, manifest)
        step.detail = f"{len(waiting)} of {len(run.local)} models differ"
    return manifest, waiting


def _read_models(request: PushRequest, progress: Progress) -> dict[str, LocalModel]:
    """What is to be sent, proven to be what was published."""
    repository = ModelRepository(request.repository)
    for name in request.models:
        repository.existing_model(name)
    asked = request.models or tuple(model.name for model in repository.models())
    found: dict[str, LocalModel] = {}
    with progress.step("reading the models") as step:
        names = needed_models(repository, asked)
        for name in members_first({name: called_by(repository.model(name).read_config()) for name in names}):
            step.detail = name
            found[name] = snapshot(repository.model(name))
            for version in found[name].versions:
                found[name].require_intact(version)
        step.detail = f"{len(found)} as published"
    return found


def _require_models(run: _Run, manifest: Manifest) -> None:
    """An empty repository is rather the wrong one than what all others are to get.

    Raises:
        RepositoryError: all that is there would go.
    """
    if run.request.removes and manifest.models and not run.local and not run.request.may_empty:
        raise RepositoryError(
            f"there is no model in '{run.request.repository}', and all {len(manifest.models)} at '{run.remote.url}' "
            "would be removed",
            cause="a repository that is empty is hardly what it is to hold",
            next_step="check --repository; to remove them all: --allow-empty",
        )


def _differs(model: LocalModel, manifest: Manifest) -> bool:
    """Whether a file of the model is not there, or, of what versions share, another one."""
    there = manifest.models.get(model.name)
    return there is None or any(there.files.get(path) != file for path, file in model.files.items())


def _require_compatible(run: _Run, manifest: Manifest) -> None:
    """Nothing that others have pushed may be replaced unseen.

    Raises:
        RepositoryError: a version is another one there, is newer there, or a push of others is under way.
    """
    for model in run.local.values():
        _require_same_versions(run, model, manifest)
        newest = max(manifest.models[model.name].versions, default=0) if model.name in manifest.models else 0
        if newest > max(model.versions, default=0) and not run.request.removes:
            raise RepositoryError(
                f"'{run.remote.url}' has version {newest} of '{model.name}', which is newer",
                cause=f"the newest here is {max(model.versions, default=0)}, whose configuration is not meant for it",
                next_step=f"get it first: repo-tool pull {run.remote.url} {model.name}",
            )
        _require_free(run, model, manifest)


def _require_same_versions(run: _Run, model: LocalModel, manifest: Manifest) -> None:
    version = model.differing_version(manifest)
    if version is not None:
        raise RepositoryError(
            f"version {version} of '{model.name}' is another one at '{run.remote.url}'",
            cause="a version that was published is never changed, and its files there have other digests",
            next_step="pull what is there, and add this model again, which makes it the next version",
        )
    version = model.reused_version(manifest)
    if version is not None:
        raise RepositoryError(
            f"version {version} of '{model.name}' was another one at '{run.remote.url}'",
            cause="it was removed there, and its number does not come back with other files",
            next_step="add this model again, which makes it the next version",
        )


def _require_free(run: _Run, model: LocalModel, manifest: Manifest) -> None:
    claim = manifest.unfinished.get(model.name)
    if claim is None or run.request.takes_over:
        return
    if claim.digest not in ("", model.digest) or model.files.keys() & set(claim.removing):
        raise _claimed(run, model.name, claim)


def _claimed(run: _Run, name: str, claim: Unfinished) -> RepositoryError:
    return RepositoryError(
        f"another push of '{name}' to '{run.remote.url}' is not finished",
        cause=f"{claim.by} began it at {claim.at}",
        next_step="wait until it is; if it was given up: --take-over",
    )


def _foretold(run: _Run, model: LocalModel, manifest: Manifest) -> ModelTransfer:
    there = manifest.models.get(model.name)
    if not _differs(model, manifest):
        return ModelTransfer(model=model.name, state="unchanged")
    known = there.files if there else {}
    files = [file for path, file in model.files.items() if known.get(path) != file]
    return _told(model, there, files)


def _told(model: LocalModel, there: RemoteModel | None, files: Sequence[RemoteFile]) -> ModelTransfer:
    had = there.versions if there else ()
    return ModelTransfer(
        model=model.name,
        state="changed" if there else "new",
        versions=tuple(version for version in model.versions if version not in had),
        files=len(files),
        bytes=sum(file.size for file in files),
    )


def _send(run: _Run, waiting: Mapping[str, LocalModel], progress: Progress) -> dict[str, ModelTransfer]:
    """Claim the models, send them, and switch the pointer."""

    def claimed(manifest: Manifest) -> Manifest:
        _require_compatible(run, manifest)
        return manifest.claiming({name: model.files for name, model in waiting.items()})

    before = run.target.change(claimed)
    sent: dict[str, list[RemoteFile]] = {name: [] for name in waiting}
    with progress.step("sending") as step:

        def tell(words: str) -> None:
            step.detail = words

        _hold(run, waiting, before)
        tasks = [task for model in waiting.values() for task in _needed(run, model, before)]
        counted = Counted(files=len(tasks), bytes=sum(task.file.size for task in tasks), tell=tell)
        for task in tasks:
            sent[task.model.name].append(task.file)
        for stage in (True, False):  # new versions, then what they share with those that are there, in its order
            at_once = run.remote.at_once if stage else 1
            some = [partial(_upload, run, task, counted) for task in tasks if task.comes_first is stage]
            send_all(some, at_once=at_once)
    with progress.step("switching the pointer"):
        run.target.change(lambda manifest: _switched(run, manifest, waiting))
    return {name: _told(model, before.models.get(name), sent[name]) for name, model in waiting.items()}


def _require_pushed(run: _Run, waiting: Mapping[str, LocalModel], manifest: Manifest) -> None:
    """What would be replaced there is what the pointer tells, or the same.

    Raises:
        RepositoryError: nobody has pushed it: somebody publishes there, or has changed a file.
    """
    for name in waiting.keys() - manifest.unfinished.keys():  # those on their way have left what the pointer lacks
        known = manifest.models[name].files if name in manifest.models else {}
        for path in _paths(run, name, run.remote.places(f"{run.remote.name}/{name}")):
            if _is_strange(run, waiting[name], path, known):
                raise RepositoryError(
                    f"nobody has pushed '{path}' of '{name}' to '{run.remote.url}' as it is there",
                    cause="somebody publishes models there, or has changed the file",
                    next_step="push to another place; to have it replaced by what is here: --take-over",
                )


def _is_strange(run: _Run, model: LocalModel, path: str, known: Mapping[str, RemoteFile]) -> bool:
    """Whether a file that is there lies in the way of the model's, and is neither known nor the same."""
    version, ours = version_of(path), model.files.get(path)
    if version is not None and path in known:
        return False
    if ours is None:
        return version in model.versions
    there = run.remote.digest(run.target.file(model.name, path))
    return there not in (ours.digest, known[path].digest if path in known else ours.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One file to be stored at one place."""

    model: LocalModel
    path: str
    place: str
    file: RemoteFile
    comes_first: bool  # all but what the versions that are served there use meanwhile


def _hold(run: _Run, waiting: Mapping[str, LocalModel], manifest: Manifest) -> None:
    """Let what is served there stay so while further versions arrive."""
    for name, model in waiting.items():
        there = manifest.models.get(name)
        if there is None or set(model.versions) <= set(there.versions):
            continue
        for path in (path for path in there.files if _is_config(path)):
            stored = run.remote.read(run.target.blob(there.files[path].digest))
            held = held_config(stored.content.decode(errors="replace"), there.versions) if stored else None
            if held is not None:
                run.remote.write(run.target.file(name, path), held.encode())


def _needed(run: _Run, model: LocalModel, manifest: Manifest) -> list[_Task]:
    """What is not stored yet, by what is found there: a push that was cut off may have stored much of it."""
    name = model.name
    there = set(run.remote.places(f"{run.remote.name}/{name}"))
    known = manifest.models[name].files if name in manifest.models else {}
    if run.request.takes_over:
        left = [path for path in _paths(run, name, there) if path not in model.files and path not in known]
        run.target.remove_files(name, [path for path in left if version_of(path) in model.versions])
    tasks = []
    for path in sorted(model.files, key=_is_config):  # labels right before the configuration that they belong to
        file = model.files[path]
        place = run.target.file(name, path)
        places = [(place, version_of(path) is not None or not (_is_config(path) or place in there))]
        if version_of(path) is None:
            places.insert(0, (run.target.blob(file.digest), True))
        tasks += [
            _Task(model=model, path=path, place=place, file=file, comes_first=first)
            for place, first in places
            if not _is_stored(run, place, file, there, is_known=known.get(path) == file)
        ]
    return tasks


def _paths(run: _Run, model: str, places: Iterable[str]) -> list[str]:
    before = f"{run.remote.name}/{model}/"
    return [place.removeprefix(before) for place in sorted(places)]


def _is_stored(run: _Run, place: str, file: RemoteFile, there: set[str], *, is_known: bool) -> bool:
    """Whether the same bytes lie there; what the pointer names in a version's folder never changes."""
    is_ours = place.startswith(f"{run.remote.name}/")
    if is_ours and place not in there:
        return False
    if is_known and is_ours and version_of(place.split("/", 2)[2]) is not None:
        return True
    return run.remote.digest(place) == file.digest


def _is_config(path: str) -> bool:
    return path == "config.pbtxt" or (path.startswith("configs/") and path.endswith(".pbtxt"))


def _upload(run: _Run, task: _Task, counted: Counted) -> None:
    run.remote.upload(task.place, task.model.path(task.path), task.file.digest, counted.arrived)
    counted.file_arrived()


def _switched(run: _Run, manifest: Manifest, waiting: Mapping[str, LocalModel]) -> Manifest:
    """The pointer to what has been sent.

    Raises:
        RepositoryError: somebody has taken over.
    """
    for name, model in waiting.items():
        claim, there = manifest.unfinished.get(name), manifest.models.get(name)
        is_done = there is not None and not _differs(model, manifest)  # by another push of the same files
        if not is_done and (claim is None or claim.digest != model.digest):
            raise RepositoryError(
                f"the push of '{name}' to '{run.remote.url}' was taken over",
                cause=f"{claim.by if claim else 'somebody'} did so meanwhile",
                next_step="look at what is there, and run the command again",
            )
    return manifest.finished({name: _as_stored(model, manifest) for name, model in waiting.items()})


def _as_stored(model: LocalModel, manifest: Manifest) -> RemoteModel:
    """The model with what was there before and stays: earlier versions, and files that this repository lacks."""
    before = manifest.models.get(model.name)
    return RemoteModel(files={**(before.files if before else {}), **model.files})


def _gone(run: _Run, manifest: Manifest) -> tuple[ModelTransfer, ...]:
    """The models, and versions of models, that are there and not here."""
    if not run.request.removes:
        return ()
    found = []
    for name, there in sorted(manifest.models.items()):
        files = _surplus(run, name, there)
        if files:
            here = run.local[name].versions if name in run.local else ()
            lost = tuple(version for version in there.versions if version not in here)
            size = sum(there.files[path].size for path in files)
            found.append(ModelTransfer(model=name, state="removed", versions=lost, files=len(files), bytes=size))
    return tuple(found)


def _surplus(run: _Run, name: str, there: RemoteModel) -> list[str]:
    here = run.local[name].files if name in run.local else {}
    return [path for path in there.files if path not in here]


def _remove(run: _Run, before: Manifest, gone: Sequence[ModelTransfer], progress: Progress) -> None:
    """The pointer no longer names them, and then they go, those too that were cut off here; others' files stay."""
    seen = {each.model: before.models[each.model] for each in gone}
    if not seen and not any(claim.removing for claim in before.unfinished.values()):
        return
    with progress.step("removing") as step:
        manifest = run.target.change(lambda manifest: _without(run, manifest, seen))
        going = {name: claim.removing for name, claim in manifest.unfinished.items() if claim.removing}
        callers_first = sorted(going, key=lambda name: name in run.local)
        for name in callers_first:
            run.target.remove_files(name, going[name])
        run.target.change(lambda manifest: manifest.without_removals(going))
        step.detail = ", ".join(callers_first)


def _without(run: _Run, manifest: Manifest, seen: Mapping[str, RemoteModel]) -> Manifest:
    """The pointer without what this repository lacks of these models, which are as they were ``seen``, and sent since.

    Raises:
        RepositoryError: somebody pushes one of the models, or has done so.
    """
    for name, model in seen.items():
        claim, there = manifest.unfinished.get(name), manifest.models.get(name)
        if claim is not None and claim.digest and not run.request.takes_over:
            raise _claimed(run, name, claim)
        here = run.local[name].files if name in run.local else {}
        if there is None or there.files != {**model.files, **here}:
            raise RepositoryError(
                f"'{name}' at '{run.remote.url}' was changed meanwhile",
                cause=f"{there.by} pushed it at {there.at}" if there else "somebody removed it",
                next_step="look at what is there (--dry-run), and run the command again",
            )
    return manifest.removing({name: _surplus(run, name, manifest.models[name]) for name in seen})
