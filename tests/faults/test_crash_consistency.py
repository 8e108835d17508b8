# SPDX-License-Identifier: Apache-2.0
"""Wherever ``add-model`` is cut off, and whatever the disk refuses, the repository is the old one or the new one.

Each run is the whole command, with its worker and its Triton, on a disk that fails at one of the calls that change
something in the repository or beside it: at every write, fsync, rename, link, mkdir, chmod and unlink in full mode.
"""

import random
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from repo_tool.repository.integrity import problems
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import next_version
from repo_tool.repository.stamps import due_stamps, stamps_of
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress
from support.command import REPO_TOOL, environment, everything_in
from support.faulty_disk import WAYS, Run, Way, build_library, run_on_faulty_disk, ways_of
from support.unsynced import unsynced_when_published

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

AT_ONCE = 2  # runs
TENSOR = ("batch", 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A root below which a repository is, or is to be; the command brings its next version."""

    name: str
    root: Path
    source: Path
    version: int
    touches: int

    def command(self, root: Path) -> list[object]:
        return [REPO_TOOL, "add-model", self.source, "--name", "relu", "--repository", root / "models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens in one run."""

    scenario: Scenario
    at: int
    way: Way

    def __str__(self) -> str:
        return f"{self.way} at touch {self.at} of the {self.scenario.name} publication"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What there was after a run, and what there is after ``fsck --repair``."""

    fault: Fault
    run: Run
    is_new: bool
    has_left: bool  # something that fsck put in order
    complaints: tuple[str, ...]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def whole_runs(library, tmp_path_factory):
    """What the command does on a disk that works: for a first version, and for a second."""
    folder = tmp_path_factory.mktemp("whole").resolve()
    source, root = relu(folder / "relu.onnx"), folder / "root"
    scenarios = []
    for name, version in (("first", 1), ("second", 2)):
        before = folder / name
        shutil.copytree(root, before) if root.exists() else before.mkdir()
        root.mkdir(exist_ok=True)
        scenario = Scenario(name=name, root=before, source=source, version=version, touches=0)
        run = on_disk(scenario, library, root=root, room=folder / f"run-{name}", way="watch")
        assert run.exit_code == 0, run.words
        scenarios.append(
            (Scenario(name=name, root=before, source=source, version=version, touches=len(run.touches)), run)
        )
    return scenarios


def relu(path):
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, TENSOR) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def on_disk(scenario, library, *, root, room, at=0, way=""):
    room.mkdir()
    command = scenario.command(root)
    return run_on_faulty_disk(command, library, root=root, room=room, at=at, way=way, environment=environment())


def test_add_model_is_cut_off_anywhere(library, whole_runs, tmp_path, scale, seed, figures):
    drawn = random.Random(seed)  # noqa: S311 - to be drawn again
    faults = [
        Fault(scenario=scenario, at=at, way=way)
        for scenario, run in whole_runs
        for at, touch in enumerate(run.touches, start=1)
        for way in ways_of(touch)
        if way != "ENOSPC" or scenario.name == "second"  # a first version needs nothing else
    ]
    kills = [fault for fault in faults if fault.way == "kill"]  # most of what they leave is among the states above
    others = [fault for fault in faults if fault.way != "kill"]
    chosen = drawn.sample(kills, scale(8, 80)) + drawn.sample(others, scale(16, len(others)))
    drawn.shuffle(chosen)
    states = sum(len(run.states) for _, run in whole_runs)
    outcomes = []
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for outcome in pool.map(partial(outcome_of, library=library, folder=tmp_path.resolve()), enumerate(chosen)):
            outcomes.append(outcome)
            if outcome.complaints or len(outcomes) % 50 == 0:
                print(len(outcomes), "of", len(chosen), outcome.fault, outcome.complaints)  # noqa: T201 - it takes long
    wrong = [f"{each.fault}: {words}" for each in outcomes for words in each.complaints]
    figures.record(
        row="crash_consistency",
        measured={
            "states that a kill leaves, from one run": states,
            "runs on a disk that fails": len(outcomes),
            "touches of a first and of a second publication": [scenario.touches for scenario, _ in whole_runs],
            "by way": dict(Counter(each.fault.way for each in outcomes if each.run.has_failed)),
            "old repository": sum(not each.is_new for each in outcomes),
            "new repository": sum(each.is_new for each in outcomes),
            "put in order by fsck --repair": sum(each.has_left for each in outcomes),
            "neither old nor new, or not put in order": wrong[:20],
        },
        passed=not wrong and states + len(outcomes) >= scale(1, 500),
        seed=seed,
    )
    assert wrong == []


def test_every_state_on_the_way_is_the_old_one_or_the_new_one(whole_runs, figures):
    """What kill -9 leaves: the disk as it is before each touch, copied while the command waits."""
    seen, wrong = Counter(), []
    for scenario, run in whole_runs:
        before = everything_in(scenario.root / "models")
        for copy in run.states:
            repository = ModelRepository(copy / "models")
            seen[state(repository, before, scenario.version)] += 1
            complaints, _ = put_in_order(repository, before, scenario.version)
            wrong += [f"before touch {copy.name} of the {scenario.name} publication: {each}" for each in complaints]
    touches = sum(len(run.touches) for _, run in whole_runs)
    measured = {"touches": touches, "states": sum(seen.values()), "of them": dict(seen), "wrong": wrong[:20]}
    figures.record(row="crash_states", measured=measured, passed=not wrong)
    assert wrong == []
    assert seen["old"] > 100  # but for the worker's own, which may start no program
    assert seen["new"] > 20


def outcome_of(numbered, *, library, folder):
    number, fault = numbered
    root, room = folder / f"{number}-root", folder / f"{number}-room"
    shutil.copytree(fault.scenario.root, root)
    before = everything_in(root / "models")
    run = on_disk(fault.scenario, library, root=root, room=room, at=fault.at, way=fault.way)
    outcome = examined(fault, run, ModelRepository(root / "models"), before)
    shutil.rmtree(root)
    shutil.rmtree(room)
    return outcome


def examined(fault, run, repository, before):
    complaints = []
    at_once = state(repository, before, fault.scenario.version)
    if run.exit_code == 0 and at_once != "new":
        complaints.append("the command says that all is well, and it is not")
    if not run.was_killed and run.exit_code != 0 and at_once != "old":
        complaints.append(f"it failed, and its version is there: {run.words[-400:]}")
    if run.exit_code not in (0, 1, 2, -9):
        complaints.append(f"it ended with {run.exit_code}: {run.words[-400:]}")
    found, has_left = put_in_order(repository, before, fault.scenario.version)
    is_new = state(repository, before, fault.scenario.version) == "new"
    return Outcome(fault=fault, run=run, is_new=is_new, has_left=has_left, complaints=(*complaints, *found))


def put_in_order(repository, before, version):
    """What is wrong with what a run has left, and after it was put in order; and whether there was anything to do."""
    at_once, has_left, complaints = state(repository, before, version), False, []
    if at_once not in ("old", "new"):
        complaints.append(f"neither old nor new: {at_once}")
    if repository.path.exists() or repository.private_path.exists():
        checked = fsck_repository(FsckRequest(repository=repository.path, repair=True), RecordedProgress())
        has_left = bool(checked.repaired)
        complaints += [f"fsck: {finding.kind} {finding.path} {finding.words}" for finding in checked.findings]
    after = state(repository, before, version)
    if after not in ("old", "new") or (at_once == "new" and after == "old"):
        complaints.append(f"{at_once}, and put in order {after}")
    return complaints + journal_complaints(repository, version, after), has_left


def state(repository, before, version):
    """``old``, ``new``, or what is odd."""
    found = everything_in(repository.path)
    if found == before or (not before and not any(name.rstrip("/") for name in found)):
        return "old"
    model = repository.model("relu")
    kept = {name: words for name, words in before.items() if name != "relu/config.pbtxt"}
    changed = sorted(name for name, words in kept.items() if found.get(name) != words)
    if changed or model.versions() != tuple(range(1, version + 1)):
        return f"changed {changed}, versions {model.versions()}"
    odd = [f"{problem.path} {problem.words}" for number in model.versions() for problem in problems(model, number)]
    config = model.read_config()
    if (
        odd
        or not (model.version_path(version) / "model.onnx").is_file()
        or stamps_of(config) != due_stamps(model, config)
    ):
        return f"odd {odd or stamps_of(config)}"
    return "new"


def journal_complaints(repository, version, after):
    told = [entry.version for entry in Journal(repository).entries() if entry.action == "publish"]
    there = list(range(1, version + (after == "new")))
    complaints = [] if told == there else [f"the journal tells of versions {told}, there are {there}"]
    if next_version(repository.model("relu")) != len(there) + 1:
        complaints.append("the next version has an odd number")
    staged = list((repository.private_path / "staging").glob("*"))
    return complaints + ([f"left: {staged}"] if staged else [])


def test_nothing_gets_its_name_before_it_is_on_the_disk(whole_runs, tmp_path):
    for scenario, run in whole_runs:
        root = next(touch.path for touch in run.touches).partition("/.models.repo-tool")[0]
        published = [touch for touch in run.touches if touch.other == f"{root}/models/relu"]
        assert len(published) == 1, scenario.name
        assert list(unsynced_when_published(run.touches, Path(root) / "models")) == [], scenario.name


def test_what_is_renamed_too_early_is_seen(library, tmp_path):
    """The proof above can fail."""
    root, room = tmp_path.resolve() / "root", tmp_path / "room"
    (root / "models").mkdir(parents=True)
    room.mkdir()
    lines = (
        "import os, pathlib, sys",
        "draft, target = map(pathlib.Path, sys.argv[1:])",
        "draft.write_text('torn')",
        "draft.rename(target)",
    )
    command = [sys.executable, "-c", "\n".join(lines), root / "draft", root / "models" / "config.pbtxt"]
    run = run_on_faulty_disk(command, library, root=root, room=room, environment=environment())
    assert [touch.call for touch in run.touches] == ["open", "write", "rename"]
    assert list(unsynced_when_published(run.touches, root / "models")) == [
        f"{root}/draft when {root}/models/config.pbtxt got its name",
        f"{root}/models at the end",
        f"{root}/models/config.pbtxt at the end",
    ]


@pytest.mark.parametrize("way", WAYS)
def test_the_disk_fails_when_it_is_told_to(library, tmp_path, way):
    root, room = tmp_path.resolve() / "root", tmp_path / "room"
    root.mkdir()
    room.mkdir()
    code = f"import pathlib; pathlib.Path({str(root / 'file')!r}).write_text('12345678')"
    run = run_on_faulty_disk(
        [sys.executable, "-c", code], library, root=root, room=room, at=2, way=way, environment=environment()
    )
    assert run.has_failed
    assert run.was_killed == (way in ("kill", "torn"))
    assert run.exit_code != 0
    if way != "EIO":  # which Python's file meets by writing once more when it is closed
        assert (root / "file").read_text() == ("1234" if way == "torn" else "")
