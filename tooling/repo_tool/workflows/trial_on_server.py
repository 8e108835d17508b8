# SPDX-License-Identifier: Apache-2.0
"""New versions of a model on a server under another name, so that what they do there touches nothing that serves.

A load that fails beside versions that answer is undone by Triton, version by version, while they do; Triton 2.51 ends
with SIGSEGV in about one of 35 of those. Under a name of its own nothing but the trial is there to be undone.
"""

__all__ = ["can_be_tried", "tried"]

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import repo_client
from repo_tool.errors import LoadRefusedError, LoadTimeoutError, RepoToolError
from repo_tool.repository.layout import ModelDirectory
from repo_tool.workflows.model_on_server import ModelOnServer, WrongVersionsError, words_of
from repo_tool.workflows.model_to_serve import ModelToServe

_NAME = "repo-tool-trial-of-{}"
_SENT_TO = re.compile(r"/\S*/folder\w{6}(?=/)")  # where Triton puts files that it is sent
_MOST_SENT = 64 << 20  # bytes
_BUSY_S = 1.0  # for a server that is still loading to be told what to do next
_OF_THE_SERVER = (repo_client.NetworkError, repo_client.ModelControlError, repo_client.RefusedRequestError)


def can_be_tried(model: ModelToServe, *, room: Path | None) -> bool:
    """Whether it can be served under another name: from ``room``, or from what is sent to the server."""
    return room is not None or sum(path.stat().st_size for path in _sent(model).values()) <= _MOST_SENT


@contextmanager
def tried(model: ModelToServe, server: ModelOnServer, *, room: Path | None) -> Iterator[str]:
    """Serve the versions that the configuration loads under another name, which the block is given.

    They are served from ``room``, a repository of the server in which nobody else puts anything: links to the files as
    they were published. To a server that has no such room the files are sent. Either way one instance of each kind.

    Raises:
        LoadRefusedError: the server does not take them; its words name the model and its files as published.
        RepoToolError: whatever the block raises.
        RepoClientError: the server itself does not answer, or loads nothing on request.
    """
    trial = replace(server, name=_NAME.format(server.name))
    document = {**model.document, "name": trial.name, **_few_instances(model.document)}
    with _as_published(model, trial, room), _folder(model, trial.name, room):
        try:
            if room is None:
                files = {name: path.read_bytes() for name, path in _sent(model).items()}
                trial.load_sent(document, model.versions, files)
            else:
                trial.load(document, model.versions)
        except BaseException as error:
            _forget(trial, model.versions, error, has_index=room is not None)
            raise
        try:
            yield trial.name
        finally:
            trial.unload()


def _forget(trial: ModelOnServer, versions: Collection[int], error: BaseException, *, has_index: bool) -> None:
    """Leave nothing of what was refused; what is still loading goes when the server has come to an end with it."""
    has_ended = isinstance(error, Exception) and not isinstance(error, LoadTimeoutError)
    with suppress(repo_client.RepoClientError):  # the first error is the one to tell
        if has_ended or (has_index and not trial.is_loading()):
            trial.forget(versions)
        else:
            replace(trial, timeout_s=_BUSY_S).unload()


def _sent(model: ModelToServe) -> dict[str, Path]:
    """By the path that Triton is to give it, each file that the versions are loaded with; an ensemble has none."""
    if model.is_ensemble:
        return {}
    directory = model.directory
    apart = {path(version) for version in model.versions for path in (directory.sample_path, directory.provenance_path)}
    entries = [each for entry in _linked(directory, model.versions) for each in (entry, *entry.rglob("*"))]
    files = (path for path in entries if path.is_file() and path not in apart and "__pycache__" not in path.parts)
    return {path.relative_to(directory.path).as_posix(): path for path in files}


def _few_instances(document: Mapping[str, Any]) -> dict[str, Any]:
    groups = document.get("instance_group")
    return {"instance_group": [{**group, "count": 1} for group in groups]} if groups else {}


@contextmanager
def _folder(model: ModelToServe, name: str, room: Path | None) -> Iterator[None]:
    if room is None:
        yield
        return
    folder = room / name
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was cut off
    folder.mkdir()
    try:
        for entry in _linked(model.directory, model.versions):
            (folder / entry.name).symlink_to(entry.absolute())
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _linked(directory: ModelDirectory, versions: Collection[int]) -> Iterator[Path]:
    apart = {directory.config_path.name, directory.variants_path.name, *map(str, directory.versions())}
    for entry in directory.path.iterdir():
        if entry.name in map(str, versions) or not (entry.name in apart or entry.name.startswith(".")):
            yield entry


@contextmanager
def _as_published(model: ModelToServe, trial: ModelOnServer, room: Path | None) -> Iterator[None]:
    """Whoever reads why it failed looks for the model by its own name, and for the files where they lie."""
    served_from = _SENT_TO if room is None else re.compile(re.escape(str(room / trial.name)))

    def told(words: str) -> str:
        return served_from.sub(lambda _: str(model.directory.path), words).replace(trial.name, model.name)

    try:
        yield
    except _OF_THE_SERVER:
        raise
    except RepoToolError as error:
        error.fact, error.cause, error.next_step = told(error.fact), told(error.cause), told(error.next_step)
        raise
    except (repo_client.RepoClientError, WrongVersionsError) as error:
        raise LoadRefusedError(told(words_of(error))) from error
