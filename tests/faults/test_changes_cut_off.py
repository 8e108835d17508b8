# SPDX-License-Identifier: Apache-2.0
"""Every other change of a repository, cut off at any touch of the disk: all of it has come about, or nothing."""

import json
import random
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from repo_tool.repository.journal import Journal
from repo_tool.repository.labels import labels_path
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress
from support.command import environment, everything_in
from support.faulty_disk import Run, Way, build_library, run_on_faulty_disk, ways_of
from support.one_change import CHANGES, make_repository
from support.unsynced import unsynced_when_published

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

TESTS = Path(__file__).parents[1]
PROGRAM = TESTS / "support" / "one_change.py"
AT_ONCE = 2  # runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What a change does on a disk that works."""

    change: str
    run: Run
    after: tuple[object, ...]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A folder with a repository and what lies beside it."""
    folder = tmp_path_factory.mktemp("before").resolve()
    make_repository(ModelRepository(folder / "models"))
    return folder


@pytest.fixture(scope="module")
def wholes(library, before, tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("wholes").resolve(), []
    for change in CHANGES:
        root = folder / change.replace(" ", "-")  # LD_PRELOAD parts its libraries by spaces
        run = changed(change, library, before, root, way="watch")
        assert run.exit_code == 0, run.words
        found.append(Whole(change=change, run=run, after=state(ModelRepository(root / "models"))))
    return found


def changed(change, library, before, root, *, at=0, way=""):
    shutil.copytree(before, root)
    room = root.with_name(root.name + "-room")
    room.mkdir()
    return run_on_faulty_disk(
        [sys.executable, PROGRAM, root / "models", change],
        library,
        root=root,
        room=room,
        at=at,
        way=way,
        environment=environment(PYTHONPATH=str(TESTS)),
    )


def state(repository):
    """All that counts: files, labels, and what the journal tells but for when and which."""
    labels, entries = labels_path(repository), Journal(repository).entries()
    told = [(entry.action, entry.model, entry.version, entry.digest) for entry in entries]
    return everything_in(repository.path), json.loads(labels.read_text()) if labels.exists() else {}, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens in one run."""

    whole: Whole
    at: int
    way: Way

    def __str__(self) -> str:
        return f"{self.way} at touch {self.at} of '{self.whole.change}'"


def test_changes_are_cut_off_anywhere(library, before, wholes, tmp_path, scale, seed, figures):
    faults = [
        Fault(whole=whole, at=at, way=way)
        for whole in wholes
        for at, touch in enumerate(whole.run.touches, start=1)
        for way in ways_of(touch)
    ]
    drawn = random.Random(seed)  # noqa: S311 - to be drawn again
    chosen = drawn.sample(faults, scale(30, len(faults)))
    examine = partial(complaints_of, library=library, before=before, folder=tmp_path.resolve())
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        wrong = [words for found in pool.map(examine, enumerate(chosen)) for words in found]
    figures.record(
        row="changes_cut_off",
        measured={
            "runs": len(chosen),
            "touches": {whole.change: len(whole.run.touches) for whole in wholes},
            "by way": dict(Counter(fault.way for fault in chosen)),
            "neither old nor new, or not put in order": wrong[:20],
        },
        passed=not wrong,
        seed=seed,
    )
    assert wrong == []


def test_every_state_on_the_way_is_put_in_order(before, wholes, figures):
    """What kill -9 leaves: the disk as it is before each touch, copied while the program waits."""
    old, wrong = state(ModelRepository(before / "models")), []
    for whole in wholes:
        for copy in whole.run.states:
            repository = ModelRepository(copy / "models")
            found = [*half_there(state(repository), old, whole.after), *not_put_in_order(repository, old, whole.after)]
            wrong += [f"before touch {copy.name} of '{whole.change}': {words}" for words in found]
    states = sum(len(whole.run.states) for whole in wholes)
    figures.record(row="changes_states", measured={"states": states, "wrong": wrong[:20]}, passed=not wrong)
    assert wrong == []
    assert states > 200


def complaints_of(numbered, *, library, before, folder):
    number, fault = numbered
    root = folder / str(number)
    run = changed(fault.whole.change, library, before, root, at=fault.at, way=fault.way)
    repository, old = ModelRepository(root / "models"), state(ModelRepository(before / "models"))
    found = [f"{fault}: {words}" for words in odd(fault, run, repository, old)]
    shutil.rmtree(root)
    return found


def odd(fault, run, repository, old):
    new, at_once = fault.whole.after, state(repository)
    yield from half_there(at_once, old, new)
    if run.exit_code == 0 and at_once != new:
        yield "the command says that all is well, and it is not"
    if run.exit_code == 2 and at_once != old:
        yield f"it failed, and left a change: {run.words[-300:]}"
    if run.exit_code not in (0, 2, -9):
        yield f"it ended with {run.exit_code}: {run.words[-600:]}"
    yield from not_put_in_order(repository, old, new)


def half_there(found, old, new):
    for name in {path.partition("/")[0] for path in (*old[0], *new[0])}:
        if of(found[0], name) not in (of(old[0], name), of(new[0], name)):
            yield f"'{name}' is neither old nor new"


def not_put_in_order(repository, old, new):
    at_once = state(repository)
    checked = fsck_repository(FsckRequest(repository=repository.path, repair=True), RecordedProgress())
    yield from (f"fsck: {finding.kind} {finding.path} {finding.words}" for finding in checked.findings)
    after = state(repository)
    if after not in (old, new):
        yield f"not put in order; the journal tells {after[2][len(old[2]) :]}"
    if at_once == new != after:
        yield "it was there, and is gone"


def of(found, name):
    return {path: words for path, words in found.items() if path.partition("/")[0] == name}


def test_no_change_gets_its_name_before_it_is_on_the_disk(wholes):
    for whole in wholes:
        root = next(touch.path for touch in whole.run.touches).partition("/.models.repo-tool")[0]
        assert list(unsynced_when_published(whole.run.touches, Path(root) / "models")) == [], whole.change
