# SPDX-License-Identifier: Apache-2.0
"""Twelve kinds of bad version: the old one serves on, the cause is named, and nothing else changes."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from time import monotonic

import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from repo_client import DeadlineExceededError
from repo_tool.errors import RepoToolError
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.command import environment, everything_in
from support.faulty_disk import build_library, run_on_faulty_disk
from support.little_memory import little_memory
from support.live_roll_outs import Live, publish_changed
from support.open_loop import OpenLoop, publish_versioned, versioned_graph, versioned_model

pytestmark = pytest.mark.faults

NAMED_S = 5.0
CONFIG = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {most}
input [ {{ name: "x" data_type: {kind} dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
"""
NO_MODULE = b"import a_package_that_is_not_there\n"
HANGS = b"""import time
class TritonPythonModel:
    def initialize(self, args):
        time.sleep(600)  # longer than anybody waits
"""
EATS = """import os, resource
from pathlib import Path
class TritonPythonModel:
    def initialize(self, args):
        {limit}
        self.all_there_is = bytearray(1 << 30)
"""
IN_A_GROUP = "Path({group!r}).write_text(str(os.getpid()))"
IN_ITS_ADDRESSES = "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))"  # Python hears of it, and is not killed
EATING = "eating.py"
PUBLISHES = """import sys
from pathlib import Path
from repo_tool.errors import RepoToolError
from repo_tool.repository.layout import ModelRepository
from support.open_loop import publish_versioned
try:
    publish_versioned(ModelRepository(Path(sys.argv[1])), sys.argv[2], 2)
except RepoToolError as error:
    sys.exit(f"{error.fact}: {error.cause}")
"""
TOUCH_OF_A_FILE = 8  # of the disk, by one who publishes


class DiskFullError(Exception):
    """What a process said whose disk was full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of bad version: how it comes, and what must be said of it."""

    name: str
    come: Callable[[Live, str, Path], None]
    words: str
    is_python: bool = False
    load_timeout_s: float = 30.0


def changed(**files: Callable[[str], bytes]) -> Callable[[Live, str, Path], None]:
    """A version that is published with these files, by name with a double underscore for the dot."""

    def come(served: Live, model: str, room: Path) -> None:
        content = {_PATHS[name]: make(model) for name, make in files.items()}
        publish_changed(served.repository, model, 2, files=content)

    return come


_PATHS = {"onnx": "2/model.onnx", "code": "2/model.py", "config": "config.pbtxt"}


def graph_bytes() -> bytes:
    return versioned_graph(2).SerializeToString()


def flipped(model: str) -> bytes:
    """The weight is 2.0, and one bit of it another."""
    content, weight = bytearray(graph_bytes()), (2.0).hex() and b"\x00\x00\x00\x40"
    content[content.index(weight) + 2] ^= 0x40
    return bytes(content)


def without_its_data(model: str) -> bytes:
    graph = versioned_graph(2)
    for tensor in graph.graph.initializer:
        external_data_helper.set_external_data(tensor, location="weights.bin", length=4)
        tensor.ClearField("raw_data")
    return graph.SerializeToString()


def of_another_width(model: str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(onnx.numpy_helper.to_array(versioned_graph(2).graph.initializer[0]), "version")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def with_another_digest(served: Live, model: str, room: Path) -> None:
    with staging(served.repository) as stage:
        directory = versioned_model(stage.repository.path, model, 2)
        file = directory.version_path(2) / "model.onnx"
        file.write_bytes(file.read_bytes() + b"\0")
        publish([StagedModel(directory=directory, version=2)], served.repository)


def hungry(served: Live, model: str, room: Path) -> None:
    publish_changed(served.repository, model, 2, files={_PATHS["code"]: (room.parent / EATING).read_bytes()})


def on_a_full_disk(served: Live, model: str, room: Path) -> None:
    command = [sys.executable, "-c", PUBLISHES, served.repository.path, model]
    run = run_on_faulty_disk(
        command,
        room.parent / "faulty_disk.so",
        root=served.repository.path.parent,
        room=room,
        at=TOUCH_OF_A_FILE,
        way="ENOSPC",
        environment=environment(PYTHONPATH=str(Path(__file__).parents[1])),
    )
    assert run.has_failed
    assert run.exit_code == 1, run.words
    raise DiskFullError(run.words)


def twice(served: Live, model: str, room: Path) -> None:
    publish_versioned(beside(served.repository), model, 2)


def beside(repository: ModelRepository) -> ModelRepository:
    return ModelRepository(repository.path.with_name("beside"))


KINDS = (
    Kind(name="truncated", come=changed(onnx=lambda _: graph_bytes()[:-30]), words="Protobuf parsing failed"),
    Kind(name="bit-flipped", come=changed(onnx=flipped), words="differs from version 2 as published"),
    Kind(
        name="bad config",
        come=changed(config=lambda name: CONFIG.format(name=name, most=-1, kind="TYPE_FP32").encode()),
        words="max_batch_size",
    ),
    Kind(
        name="import error",
        come=changed(code=lambda _: NO_MODULE),
        words="No module named 'a_package_that_is_not_there'",
        is_python=True,
    ),
    Kind(
        name="hang",
        come=changed(code=lambda _: HANGS),
        words="has not come to an end",
        is_python=True,
        load_timeout_s=2,
    ),
    Kind(name="out of memory", come=hungry, words="run out of memory|MemoryError", is_python=True),
    Kind(name="missing external data", come=changed(onnx=without_its_data), words="weights.bin"),
    Kind(name="wrong shapes", come=changed(onnx=of_another_width), words="shape"),
    Kind(name="digest mismatch", come=with_another_digest, words="model.onnx"),
    Kind(name="disk full", come=on_a_full_disk, words="space"),
    Kind(
        name="wrong type",
        come=changed(config=lambda name: CONFIG.format(name=name, most=8, kind="TYPE_INT32").encode()),
        words="TYPE_INT32 for input 'x'",
    ),
    Kind(name="duplicate name", come=twice, words="two of the server.s repositories have a model"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one."""

    seconds: float  # until the cause was named
    told: str
    complaints: tuple[str, ...]  # what was not as before
    requests: int  # of callers who follow the label, and of some who leave the version to Triton


@pytest.fixture
def _little_memory(tmp_path):
    """The model that is out of memory; where we get no control group it gets few addresses, and Python says so."""
    with ExitStack() as stack:
        try:
            limit = IN_A_GROUP.format(group=str(stack.enter_context(little_memory())))
        except OSError as error:
            print(f"no control group of our own, so a limit of addresses: {error}")  # noqa: T201 - why it is another
            limit = IN_ITS_ADDRESSES
        (tmp_path / EATING).write_text(EATS.format(limit=limit))
        yield


@pytest.mark.usefixtures("_little_memory")
def test_a_bad_version_of_any_kind_hurts_nobody(tmp_path, scale, is_full, seed, figures):
    build_library(tmp_path)
    with served_models(tmp_path) as served:
        outcomes = {
            kind.name: came(served, kind, tmp_path, rate=scale(30, 100), seed=seed + at)
            for at, kind in enumerate(KINDS)
        }
    complaints = {name: outcome.complaints for name, outcome in outcomes.items() if outcome.complaints}
    unnamed = {
        kind.name: outcomes[kind.name].told for kind in KINDS if not re.search(kind.words, outcomes[kind.name].told)
    }
    slowest = max(outcome.seconds for outcome in outcomes.values())
    figures.record(
        row="bad_versions",
        measured={
            "kinds": len(outcomes),
            "requests to the old version meanwhile": sum(outcome.requests for outcome in outcomes.values()),
            "not as before": complaints,
            "seconds until the cause was named": {name: round(each.seconds, 2) for name, each in outcomes.items()},
            "named": {name: each.told.replace(str(tmp_path), "…") for name, each in outcomes.items()},
        },
        passed=not complaints and not unnamed and slowest <= NAMED_S,
        seed=seed,
    )
    assert complaints == {}
    assert unnamed == {}
    if is_full:
        assert slowest <= NAMED_S


@contextmanager
def served_models(folder: Path) -> Iterator[Live]:
    repository = ModelRepository(folder / "models")
    for kind in KINDS:
        publish_versioned(repository, name_of(kind), 1, delay_s=0.001 if kind.is_python else 0.0)
    beside(repository).path.mkdir()
    options = ServerOptions(open_model_control=False, graceful_stop_s=0, beside=(beside(repository).path,))
    with EmbeddedServer(repository.path, options) as server:
        yield Live(repository, server)


def name_of(kind: Kind) -> str:
    return kind.name.replace(" ", "_")


def came(served: Live, kind: Kind, folder: Path, *, rate: float, seed: int) -> Outcome:
    model, room = name_of(kind), folder / f"room_of_{name_of(kind)}"
    room.mkdir()
    served.roll_out(model, label="stable")
    before = state(served, model)
    url = f"grpc://{served.server.grpc_url}"
    by_label = OpenLoop(url, model, rate=rate, seed=seed, label="stable", labels=served.repository.path)
    with OpenLoop(url, model, rate=rate / 5, seed=seed) as unlabelled, by_label as load:
        load.wait_for(5)
        attempt = refused(served, kind, model, room)
        load.wait_for(10)
    rmtree(beside(served.repository).path / model, ignore_errors=True)
    after = state(served, model)
    loads = (load, unlabelled)
    complaints = [f"{words}: {each.calls.failed[words]}" for each in loads for words in each.calls.failed]
    complaints += [
        f"{words} is {after[words]}, and was {before[words]}" for words in before if before[words] != after[words]
    ]
    complaints += [f"version {version} answered" for each in loads for version in each.calls.versions - {1}]
    if attempt.has_changed:
        complaints.append("the repository is another one")
    return Outcome(
        seconds=attempt.seconds,
        told=attempt.told,
        complaints=tuple(complaints),
        requests=sum(each.calls.sent for each in loads),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One that has to fail: to publish, or to roll out what could be published."""

    seconds: float
    told: str
    has_changed: bool  # the repository


def refused(served: Live, kind: Kind, model: str, room: Path) -> Attempt:
    began, found = monotonic(), files_in(served.repository)
    try:
        kind.come(served, model, room)
        began, found = monotonic(), files_in(served.repository)
        served.roll_out(model, label="stable", timeout_s=kind.load_timeout_s, abandon=served.own.abandon)
    except (RepoToolError, DiskFullError) as error:
        told = f"{error.fact}: {error.cause}" if isinstance(error, RepoToolError) else str(error)
    else:
        told = "nothing, and it was taken"
    seconds = monotonic() - began
    return Attempt(seconds=seconds, told=told, has_changed=files_in(served.repository) != found)


def files_in(repository: ModelRepository) -> dict[str, bytes]:
    return {path: words for path, words in everything_in(repository.path).items() if "__pycache__" not in path}


def state(served: Live, model: str) -> dict[str, object]:
    return {
        "what is served": served.versions(model),
        "the served configuration": served.served(model),
        "the answer": served.added(model),
        "the label": dict(Labels.of(served.repository).versions(model)),
        "the server's readiness": becomes_ready(served),
    }


def becomes_ready(served: Live) -> bool:
    with suppress(DeadlineExceededError):
        return served.becomes_ready()
    return False
