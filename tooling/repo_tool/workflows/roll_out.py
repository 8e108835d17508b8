# SPDX-License-Identifier: Apache-2.0
"""A server brought to what the repository says of a model: the new beside the old, proven, and only then instead."""

__all__ = ["RollOutRequest", "RolledOut", "roll_out"]

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import repo_client
from repo_client import Client
from repo_tool.errors import (
    RepositoryError,
    RepoToolError,
    RollOutError,
    RollOutUnderWayError,
    ServerUnreachableError,
)
from repo_tool.repository.labels import Labels, check_label, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.locks import try_lock
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import pinned_versions
from repo_tool.workflows.model_on_server import Document, ModelOnServer, WrongVersionsError, words_of
from repo_tool.workflows.model_to_serve import ModelToServe, models_to_serve
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.served_answers import check_answers
from repo_tool.workflows.trial_on_server import can_be_tried, tried

_LAST_CALLS_S = 0.5  # for requests whose client had read the label just before it moved
_BUSY_S = 1.0  # for a server that is still loading to be told what to do next
_INTERRUPTED_S = 3.0  # for each model to be restored, when somebody wants to leave
_LOOKS_APART_S = 0.1  # at a lock that another has
_NOT_TAKEN = (repo_client.ModelControlError, repo_client.RefusedRequestError)  # whatever is asked of the server
_FAILURES = (RepoToolError, repo_client.RepoClientError, WrongVersionsError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollOutRequest:
    """Which model, and from where the server reads it; a pipeline comes with the models that it needs."""

    model: str
    repository: Path
    label: str | None = None  # points at the newest version once that is proven
    variant: str = ""  # the server's --model-config-name
    timeout_s: float = 60.0  # for Triton to come to an end with loading a model
    wait_s: float = 60.0  # for another roll-out of the model to end
    # Ends what Triton is loading for (model, version) when that takes longer; without it Triton stays at it.
    abandon: Callable[[str, int], None] | None = None
    # Why Triton "failed to poll" a model, which it tells its log alone.
    explain: Callable[[str], str] | None = None
    # A repository of the server in which new versions are tried under another name before they are loaded beside those
    # that serve; without it they are sent to the server for that, if they are small.
    trials: Callable[[], Path] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """What came of it."""

    model: str
    before: tuple[int, ...]  # the versions that the server served
    served: tuple[int, ...]  # those that it serves now
    proven: tuple[int, ...]  # those whose published answers came back
    unproven: Mapping[int, str]  # those that serve and were not asked, and why
    models: tuple[str, ...]  # all that were loaded: the model itself, and of a pipeline those that it needed anew
    label: str = ""
    labelled: int | None = None  # the version that the label points at now
    label_before: int | None = None  # the one that it pointed at
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "model": self.model,
            "before": list(self.before),
            "served": list(self.served),
            "proven": list(self.proven),
            "unproven": {str(version): why for version, why in self.unproven.items()},
            "models": list(self.models),
            "label": self.label,
            "labelled": self.labelled,
            "label_before": self.label_before,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True, kw_only=True)
class _Change:
    """One model on its way from what the server served of it to what it is to serve."""

    wanted: ModelToServe
    server: ModelOnServer
    before: tuple[int, ...]
    document: Document | None  # what it was served with; None: it was not
    stamps: dict[int, dict[str, str]]  # by version that was served
    is_loaded: bool = False
    proven: tuple[int, ...] = ()
    unproven: dict[int, str] = field(default_factory=dict)

    @property
    def beside(self) -> tuple[int, ...]:
        """What is served until the new is proven: of a pipeline, one version at a time."""
        if self.wanted.is_one_at_a_time:
            return self.wanted.versions
        return tuple(sorted({*self.before, *self.wanted.versions}))

    @property
    def is_due(self) -> bool:
        """Whether the server serves something else."""
        there = set(self.wanted.versions) <= set(self.before)
        return not there or any(self.stamps[each] != self.wanted.stamps for each in self.wanted.versions)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One call of ``roll_out``: the models in the order of loading, the one that was asked for last."""

    request: RollOutRequest
    progress: Progress
    client: Client
    changes: list[_Change]
    touched: list[_Change] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def own(self) -> _Change:
        return self.changes[-1]


def roll_out(request: RollOutRequest, client: Client, progress: Progress) -> RolledOut:
    """Let the server serve the versions that the model's configuration in the repository loads.

    What serves now serves on until the new versions are proven; nothing moves a label before that. Should a step
    fail, what was served is restored and asked for. Requests that name no version go to the newest one as soon as
    Triton has loaded it; those that follow a label wait for the proof.

    Raises:
        RollOutError: it was not; ``cause`` names why, ``restored`` says whether all is as it was.
        RollOutUnderWayError: another one of the model, or of one that it needs, does not end.
        RepositoryError: the repository has no such model, or the label is none.
        ServerUnreachableError: no server answers.
    """
    if request.label is not None:
        check_label(request.label)
    repository = ModelRepository(request.repository)
    repository.existing_model(request.model)
    run = _Run(request=request, progress=progress, client=client, changes=[])
    with _alone(run, repository):
        return _rolled_out(run, repository)


def _rolled_out(run: _Run, repository: ModelRepository) -> RolledOut:
    request, progress = run.request, run.progress
    with _failing_as_it_was(run):
        with progress.step("check the files") as step:
            wanted = models_to_serve(repository, request.model, variant=request.variant)
            step.detail = _checked(wanted)
        run.changes = [_change(request, run.client, model) for model in wanted]
        _require_nobody_asks(repository, run.changes)
        _hold_ensembles(run)
        for change in run.changes:
            if change.is_due or change is run.own:
                _load_and_prove(run, change)
        labelled, before = _move_label(run, repository)
    _let_go(run, has_label=request.label is not None)
    return _outcome(run, labelled, before)


@contextmanager
def _alone(run: _Run, repository: ModelRepository) -> Iterator[None]:
    """No other roll-out, from this repository, of the model or of one that it needs: neither restores under the other.

    Raises:
        RollOutUnderWayError: another one does not end.
    """
    with ExitStack() as held:
        try:
            folder = repository.private_path / "locks"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in sorted(_rolled_together(repository, run.request.model)):
                held.enter_context(_locked(run, folder / f"roll-out.{name}", name))
        except OSError:  # a repository that is only read from here has nobody else
            held.close()
        yield


def _rolled_together(repository: ModelRepository, name: str) -> set[str]:
    try:
        return {name, *needed_models(repository, [name])}
    except (RepoToolError, OSError):  # told when the files are checked
        return {name}


def _locked(run: _Run, path: Path, name: str) -> TextIO:
    deadline = time.monotonic() + run.request.wait_s
    if stream := try_lock(path):
        return stream
    with run.progress.step(f"wait for another roll-out of '{name}'"):
        while time.monotonic() < deadline:
            threading.Event().wait(_LOOKS_APART_S)
            if stream := try_lock(path):
                return stream
    raise RollOutUnderWayError(
        f"'{run.request.model}' was not rolled out",
        cause=f"another roll-out of '{name}' has not ended within {run.request.wait_s:g} s; it holds '{path}'",
        next_step="wait until it is done, and do it again",
    )


def _checked(wanted: tuple[ModelToServe, ...]) -> str:
    """Each file of what is to be served as it was published, and each configuration meant for just these files."""
    for model in wanted:
        model.require_as_published()
    versions = ", ".join(map(str, wanted[-1].versions))
    return f"version {versions}" + (f" and {len(wanted) - 1} models that it needs" if len(wanted) > 1 else "")


def _change(request: RollOutRequest, client: Client, wanted: ModelToServe) -> _Change:
    server = ModelOnServer(
        client=client, name=wanted.name, timeout_s=request.timeout_s, abandon=request.abandon, explain=request.explain
    )
    server.require_unique()
    before = server.versions()
    return _Change(
        wanted=wanted,
        server=server,
        before=before,
        document=server.document() if before else None,
        stamps={version: server.stamps(version) for version in before},
    )


def _require_nobody_asks(repository: ModelRepository, changes: Sequence[_Change]) -> None:
    """See that no version would go that a pipeline in the repository asks for by number."""
    for change in changes:
        asked = pinned_versions(repository, change.wanted.name)
        going = sorted((set(change.before) - set(change.wanted.versions)) & asked.keys())
        if going:
            raise RepositoryError(
                f"version {going[0]} of '{change.wanted.name}' would go, and '{asked[going[0]][0]}' asks for it",
                cause=f"the version_policy of '{change.wanted.name}' does not load it",
                next_step="let the policy load both, or publish the pipeline over the new version",
            )


def _load_and_prove(run: _Run, change: _Change) -> None:
    wanted, server = change.wanted, change.server
    if wanted.is_ensemble:
        _hold_members(run)
    if change.before and change.is_due:
        _try(run, change)
    with run.progress.step(f"load '{wanted.name}'") as step:
        _load(run, change)
        step.detail = _served_words(change)
    for version in wanted.versions:
        with run.progress.step(f"prove version {version} of '{wanted.name}'") as step:
            server.require_stamps(version, wanted.stamps)
            step.detail = _proven(change, version)


def _try(run: _Run, change: _Change) -> None:
    """Ask the new versions for their answers before any request can come to them, where that is possible."""
    wanted, room = change.wanted, run.request.trials and run.request.trials()
    if not can_be_tried(wanted, room=room):
        return
    with (
        run.progress.step(f"try '{wanted.name}' beside itself") as step,
        tried(wanted, change.server, room=room) as trial,
    ):
        for version in wanted.versions:
            step.detail = check_answers(change.server.client, wanted, version, served_as=trial).words


def _proven(change: _Change, version: int) -> str:
    answers = check_answers(change.server.client, change.wanted, version)
    if answers.unproven:
        change.unproven[version] = answers.unproven
    else:
        change.proven = (*change.proven, version)
    return answers.words


def _load(run: _Run, change: _Change) -> None:
    run.touched.append(change)
    try:
        change.server.load(change.wanted.document, change.beside)
    except _NOT_TAKEN:
        run.touched.pop()
        raise
    change.is_loaded = True


def _hold_ensembles(run: _Run) -> None:
    """Keep the ensembles at the versions that they serve until it is their turn.

    When Triton loads a member it loads the ensembles over it again, with the configuration that it has and, where that
    says "the latest", a version that lies in the folder by then: it would answer by the steps of the one before it.
    For the few milliseconds between the two loads here that may happen; a ``Watcher`` has seen to it before.
    """
    for change in run.changes:
        if not change.wanted.is_ensemble or change.document is None or change.server.is_held():
            continue
        for member in run.changes:
            if member.document is not None and not member.wanted.is_ensemble:
                member.server.load(member.document, member.before)
        change.server.load(change.document, change.before)


def _hold_members(run: _Run) -> None:
    """Have Triton look at the members' folders now, with what they are served with.

    When it loads an ensemble it looks at its members too, and takes a configuration from the folder of each that has
    changed since: a Python model that was loaded has written its bytecode there.
    """
    for member in run.touched:
        member.server.load(member.wanted.document, member.beside)


def _served_words(change: _Change) -> str:
    new = sorted(set(change.wanted.versions) - set(change.before))
    old = sorted(set(change.beside) - set(new))
    words = f"version {', '.join(map(str, new))}" if new else "as configured now"
    return f"{words} beside {', '.join(map(str, old))}" if new and old else words


def _move_label(run: _Run, repository: ModelRepository) -> tuple[int | None, int | None]:
    """What the label points at, and did before; it goes to the newest of the versions that are new, or else of all."""
    label, own = run.request.label, run.own
    if label is None:
        return None, None
    new = set(own.wanted.versions) - set(own.before)
    version = max(new or own.wanted.versions)
    before = Labels.of(repository).versions(own.wanted.name).get(label)
    if before != version:
        with run.progress.step(f"move the label '{label}'") as step:
            step.detail = f"from version {before} to {version}" if before else f"to version {version}"
            move(repository, own.wanted.name, label, version)
    return version, before


def _let_go(run: _Run, *, has_label: bool) -> None:
    """Unload what nobody wants any more, callers before what they call; requests under way are finished.

    Raises:
        RollOutError: the server does not want to.
    """
    leaving = [change for change in reversed(run.touched) if set(change.beside) - set(change.wanted.versions)]
    if not leaving:
        return
    old = sorted(set(run.own.beside) - set(run.own.wanted.versions))
    with run.progress.step(f"unload version {', '.join(map(str, old))}" if old else "unload what is not needed"):
        if has_label:
            threading.Event().wait(_LAST_CALLS_S)
        for change in leaving:
            try:
                change.server.load(change.wanted.document, change.wanted.versions)
            except _FAILURES as error:
                raise RollOutError(
                    f"'{change.wanted.name}' is served as published, and earlier versions of it are still loaded",
                    cause=words_of(error),
                    next_step="deploy it again",
                    restored=False,
                ) from error


def _outcome(run: _Run, labelled: int | None, label_before: int | None) -> RolledOut:
    return RolledOut(
        model=run.request.model,
        before=run.own.before,
        served=run.own.wanted.versions,
        proven=run.own.proven,
        unproven=run.own.unproven,
        models=tuple(change.wanted.name for change in run.touched),
        label=run.request.label or "",
        labelled=labelled,
        label_before=label_before,
        seconds=time.monotonic() - run.began,
    )


# --- when something fails ---------------------------------------------------------------------------------------------


@contextmanager
def _failing_as_it_was(run: _Run) -> Iterator[None]:
    """Whatever fails in the block, or ends it, leaves the server as it was.

    Raises:
        RollOutError: it failed.
        ServerUnreachableError: nobody answers.
    """
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, repo_client.NetworkError) and not run.changes:
            raise ServerUnreachableError(error.fact, next_step=error.hint) from error
        lost = _lost(run)
        raise _failure(run, error, lost, _restored(run)) from error
    except BaseException:  # somebody wants to leave, or there is a bug: the unproven version must not stay
        _restored(run, within_s=_INTERRUPTED_S)
        raise


def _lost(run: _Run) -> str:
    """That the server ended meanwhile, in words: what is asked of one that was started anew does not tell."""
    for change in run.changes:
        try:
            there = set(change.server.versions())
        except repo_client.RepoClientError:
            return "the server ended meanwhile"
        if (change.before and not there) or (change.is_loaded and not set(change.beside) <= there):
            return f"the server has lost what it had loaded of '{change.wanted.name}', so it ended meanwhile"
    return ""


def _restored(run: _Run, *, within_s: float | None = None) -> str:
    """Bring the server back to what it served, callers before what they call; what is still wrong, in words."""
    wrong = []
    for change in reversed(run.touched):
        with run.progress.step(f"restore '{change.wanted.name}'") as step:
            step.detail = _still_wrong(run, change, within_s) or "as it was"
        if step.detail != "as it was":
            wrong.append(f"'{change.wanted.name}': {step.detail}")
    return "; ".join(wrong)


def _still_wrong(run: _Run, change: _Change, within_s: float | None) -> str:
    server = change.server if within_s is None else replace(change.server, timeout_s=within_s)
    try:
        there = server.versions()
        if foreign := sorted(set(there) - set(change.beside) - set(change.before)):
            return f"somebody else has changed it meanwhile: it serves version {', '.join(map(str, foreign))}"
        if server.is_loading():  # it does what it is told once it has come to an end with that
            server = replace(server, timeout_s=_BUSY_S)
        server.forget_refused(change.document or change.wanted.document)
        kept = tuple(sorted({*change.before, *_labelled(run, change, there)}))
        if not kept:
            server.unload()
        else:
            server.load(change.document or change.wanted.document, kept)
        return _differs(change, kept)
    except _FAILURES as error:
        return words_of(error)


def _labelled(run: _Run, change: _Change, there: Sequence[int]) -> set[int]:
    """Those that serve and that a label points at: whoever follows it is to be answered, whatever we think of them."""
    with suppress(RepositoryError):
        labels = Labels.of(ModelRepository(run.request.repository))
        return set(there) & set(labels.versions(change.wanted.name).values())
    return set()


def _differs(change: _Change, kept: tuple[int, ...]) -> str:
    served = change.server.versions()
    if served != kept:
        return f"it serves version {', '.join(map(str, served)) or 'none'}"
    if any(change.server.stamps(version) != change.stamps[version] for version in change.before):
        return "it serves other bytes than before"
    return ""


def _failure(run: _Run, error: Exception, lost: str, still_wrong: str) -> RollOutError:
    cause = words_of(error)
    if isinstance(error, RepoToolError):
        cause = f"{error.fact}: {error.cause}" if error.cause else error.fact
    if isinstance(error, repo_client.ModelControlError):
        cause = "the server loads nothing on request: it runs with --model-control-mode=none or poll"
    return RollOutError(
        f"'{run.request.model}' was not rolled out",
        cause=f"{lost} ({cause})" if lost else cause,
        next_step=f"the server is not as it was: {still_wrong}" if still_wrong else _way_on(run, error),
        restored=not still_wrong,
        has_lost_server=bool(lost),
    )


def _way_on(run: _Run, error: Exception) -> str:
    serves = _serving(run)
    if isinstance(error, repo_client.ModelControlError):
        return f"{serves}; the server loads models on request where it runs with --model-control-mode=explicit"
    if isinstance(error, WrongVersionsError):
        return f"{serves}; let the server read '{run.request.repository}', or bring that to it with repo-tool push"
    if isinstance(error, repo_client.RefusedRequestError) and not run.touched:
        return f"{serves}; pass the key that the server was started with: --header-file FILE, and NAME:KEY in it"
    return f"{serves}; publish a better version, and roll that out"


def _serving(run: _Run) -> str:
    name = run.request.model
    server = ModelOnServer(client=run.client, name=name, timeout_s=_BUSY_S)
    try:
        versions = (run.changes and run.own.before) or server.versions()
    except repo_client.RepoClientError:
        return "nothing was changed"
    return f"version {', '.join(map(str, versions))} serves as before" if versions else "nothing was loaded"
