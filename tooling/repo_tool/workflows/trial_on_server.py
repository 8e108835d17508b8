# SPDX-License-Identifier: Apache-2.0
"""New versions of a model on a server under another name, so that what they do there touches nothing that serves.

A load that fails beside versions that answer is undone by Triton, version by version, while they do; Triton 2.51 ends
with SIGSEGV in about one of 35 of those. Under a name of its own nothing but the trial is there to be undone.
"""

__all__ = ["tried"]

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import repo_client
from repo_tool.errors import LoadRefusedError, RepoToolError
from repo_tool.repository.layout import ModelDirectory
from repo_tool.workflows.model_on_server import ModelOnServer, WrongVersionsError, words_of
from repo_tool.workflows.model_to_serve import ModelToServe

_NAME = "repo-tool-trial-of-{}"
_OF_THE_SERVER = (repo_client.NetworkError, repo_client.ModelControlError, repo_client.RefusedRequestError)


@contextmanager
def tried(model: ModelToServe, server: ModelOnServer, *, room: Path | None) -> Iterator[str]:
    """Serve the versions that the configuration loads under another name, which the block is given.

    It is served from ``room``, a repository of the server in which nobody else puts anything: links to the files as
    they were published, and one instance of each kind. An ensemble, which is nothing but its configuration, needs none.

    Raises:
        LoadRefusedError: the server does not take them; its words name the model and its files as published.
        RepoToolError: whatever the block raises.
        RepoClientError: the server itself does not answer, or loads nothing on request.
    """
    trial = replace(server, name=_NAME.format(server.name))
    with _as_published(model, trial, room), _folder(model, trial.name, room):
        document = {**model.document, "name": trial.name, **_few_instances(model.document)}
        try:
            (trial.load if room is not None else trial.load_without_folder)(document, model.versions)
            yield trial.name
        finally:
            _let_go(trial, document)


def _let_go(trial: ModelOnServer, document: Mapping[str, Any]) -> None:
    trial.forget_refused(document)
    trial.unload()


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

    def told(words: str) -> str:
        if room is not None:
            words = words.replace(str(room / trial.name), str(model.directory.path))
        return words.replace(trial.name, model.name)

    try:
        yield
    except _OF_THE_SERVER:
        raise
    except RepoToolError as error:
        error.fact, error.cause, error.next_step = told(error.fact), told(error.cause), told(error.next_step)
        raise
    except (repo_client.RepoClientError, WrongVersionsError) as error:
        raise LoadRefusedError(told(words_of(error))) from error
