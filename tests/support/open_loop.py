# SPDX-License-Identifier: Apache-2.0
"""Models whose answers tell their version, and a load that does not wait: each answer is held against its version.

The load is open: requests leave at times that were drawn before the first one did, however long the answers take, so a
server that stands still is seen by all who would have called meanwhile. Latencies count from those times.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from repo_client import AsyncClient, AsyncModel, ConnectionOptions, Retries
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digest_of, digests_of, shared_digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.samples import Sample, write_published_sample

WIDTH = 4  # of a row
_SHOWN_MESSAGES = 3  # of each kind of failure
_LAST_ANSWERS_S = 10.0  # for requests in flight at the end, beyond their deadline
_SLOW_MODEL = """# SPDX-License-Identifier: Apache-2.0
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])

    def execute(self, requests):
        time.sleep({delay_s})  # stands for the time that a large model takes
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", x + x.dtype.type(self.version))])
"""
_CONFIG = """name: "{name}"
backend: "{backend}"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ {width} ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ {width} ] }} ]
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
version_policy {{ latest {{ num_versions: 1 }} }}
"""


def versioned_model(
    folder: Path, name: str, version: int, *, instances: int = 1, delay_s: float = 0.0, padding_bytes: int = 0
) -> ModelDirectory:
    """A model directory in ``folder``, whole with provenance and sample: ``y [n, 4] = x [n, 4] + version``.

    It is an ONNX model; one that takes ``delay_s`` for each answer is a Python model. ``padding_bytes`` of weights that
    nobody needs make an ONNX one larger.
    """
    directory = ModelDirectory(folder / name)
    place = directory.version_path(version)
    place.mkdir(parents=True)
    if delay_s:
        (place / "model.py").write_text(_SLOW_MODEL.format(delay_s=delay_s))
    else:
        onnx.save(versioned_graph(version, padding_bytes=padding_bytes), place / "model.onnx")
    backend = "python" if delay_s else "onnxruntime"
    config = _CONFIG.format(name=name, backend=backend, width=WIDTH, instances=instances)
    directory.config_path.write_text(config)
    write_published_sample(directory.sample_path(version), _sample(version))
    with_provenance(directory, version)
    return directory


def versioned_graph(version: int, *, padding_bytes: int = 0) -> onnx.ModelProto:
    """``y = x + version``."""
    weights = [numpy_helper.from_array(np.float32(version), "version")]
    if padding_bytes:
        weights.append(numpy_helper.from_array(np.zeros(padding_bytes, np.uint8), "padding"))
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        "versioned",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", WIDTH])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _sample(version: int) -> Sample:
    x = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)
    return Sample(inputs={"x": x}, outputs={"y": x + np.float32(version)})


def with_provenance(directory: ModelDirectory, version: int) -> None:
    """Record the version's files as they are now, as ``add-model`` does last."""
    tensor = {"datatype": "FP32", "shape": [-1, WIDTH]}
    facts: dict[str, Any] = {
        "repo_tool": "0.1.0",
        "by": "add-model",
        "owner": None,
        "model": directory.name,
        "source": "model.onnx",
        "framework": "onnx",
        "backend": directory.read_config().backend,
        "signature": {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]},
        "sample": {"origin": "generated", "digest": None, "rows": 3},
        "tolerance": {"absolute": 1e-4, "relative": 1e-4, "scale": 0.0},
        "verified": True,
        "unproven": "",
        "parity": None,
        "config": directory.config_path.read_text(),
        "config_digest": digest_of(directory.config_path),
        "files": digests_of(directory.version_path(version)),
        "shared_files": shared_digests_of(directory.path),
    }
    write_provenance(directory.provenance_path(version), facts)


def publish_versioned(repository: ModelRepository, name: str, version: int, **options: Any) -> int:
    """Publish a further version of the model; ``options`` are those of ``versioned_model``."""
    with staging(repository) as stage:
        directory = versioned_model(stage.repository.path, name, version, **options)
        return publish([StagedModel(directory=directory, version=version)], repository)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What became of one request; times are seconds since the load began."""

    due_s: float
    ended_s: float
    version: int | None  # that claims the answer; None: there is none
    kind: str  # "answered", "wrong", "hung", or the class of the error
    words: str = ""
    overrun_s: float = 0.0  # beyond its deadline, as the caller saw it

    @property
    def latency_s(self) -> float:
        """From when it was due."""
        return self.ended_s - self.due_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When requests leave: Poisson arrivals, the same for the same seed."""

    rate: float  # requests per second
    seed: int

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Seconds since the start, and the row to send: whole numbers, so that answers are exact."""
        random = np.random.default_rng(self.seed)
        due_s = 0.0
        while True:
            due_s += float(random.exponential(1 / self.rate))
            yield due_s, random.integers(-1000, 1000, (1, WIDTH)).astype(np.float32)


@dataclass(kw_only=True)
class Calls:
    """All that became of requests so far; may be read while the load runs."""

    ended: list[Call] = field(default_factory=list)
    sent: int = 0
    longest_lag_s: float = 0.0  # of a departure behind its time: how late this process itself was

    @property
    def answered(self) -> int:
        """How many were answered, rightly."""
        return self.kinds["answered"]

    @property
    def kinds(self) -> Counter[str]:
        """How many ended how."""
        return Counter(call.kind for call in list(self.ended))

    @property
    def failed(self) -> dict[str, list[str]]:
        """By kind the first messages of those that got no answer; wrong and hung ones too."""
        found: dict[str, list[str]] = {}
        for call in list(self.ended):
            words = found.setdefault(call.kind, []) if call.kind != "answered" else []
            if len(words) < _SHOWN_MESSAGES:
                words.append(f"after {call.due_s:.3f} s: {call.words}")
        return found

    @property
    def failures(self) -> int:
        """How many got no answer, or a wrong one."""
        return sum(self.kinds.values()) - self.answered

    @property
    def wrong(self) -> list[Call]:
        """Answers that are not those of the version that claims to have given them."""
        return [call for call in list(self.ended) if call.kind == "wrong"]

    @property
    def hung(self) -> int:
        """Requests that had no end of any kind long after their deadline."""
        return self.kinds["hung"]

    @property
    def versions(self) -> set[int]:
        """Those that answered."""
        return {call.version for call in list(self.ended) if call.version is not None}

    @property
    def longest_overrun_s(self) -> float:
        """How much longer than its deadline the slowest call took, of those that took longer."""
        return max((call.overrun_s for call in list(self.ended)), default=0.0)

    def within(self, since_s: float, until_s: float) -> list[Call]:
        """Those that were due in this part of the load."""
        return [call for call in list(self.ended) if since_s <= call.due_s < until_s]

    def latency_ms(self, quantile: float, *, since_s: float = 0.0, until_s: float = float("inf")) -> float:
        """The quantile (0.5, 0.99 …) of answered calls that were due in the window; NaN where there is none."""
        found = [call.latency_s for call in self.within(since_s, until_s) if call.kind == "answered"]
        return float(np.quantile(found, quantile) * 1e3) if found else float("nan")


class OpenLoop:
    """An open load on ``versioned_model``s, in a thread of its own, from entering the block to leaving it.

    Leaving it waits for the last answers. ``calls`` tells what became of the requests.

    Args:
        url: of the server; it must serve the model when the block is entered.
        model: its name.
        rate: requests per second.
        seed: of their times and values.
        label: follow this label instead of leaving the version to the server.
        version: ask for this version.
        client: further options of the client: ``retries``, ``labels``, ``headers``, ``connection`` …
        timeout_s: the deadline of each request.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        rate: float,
        seed: int,
        label: str | None = None,
        version: int | None = None,
        timeout_s: float = 5.0,
        retries: Retries | None = None,
        **client: Any,
    ) -> None:
        self.calls = Calls()
        self._url, self._model, self._timeout_s = url, model, timeout_s
        self._schedule = Schedule(rate=rate, seed=seed)
        self._which = {"label": label} if label else {"version": version}
        self._client = {"connection": ConnectionOptions(connections=256), "retries": retries, **client}
        self._begun, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load on {model}", daemon=True)
        self._failure: Exception | None = None
        self._start = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(30), "the load did not begin in time"
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def started(self) -> float:
        """When the load began, by the monotonic clock."""
        return self._start

    @property
    def elapsed_s(self) -> float:
        """Seconds since the load began: the time that ``Call`` counts in."""
        return time.monotonic() - self._start

    def stop(self) -> None:
        """Send no more, wait for the last answers; twice is once."""
        self._ending.set()
        self._thread.join(self._timeout_s + _LAST_ANSWERS_S + 10)
        assert not self._thread.is_alive(), "the load did not end in time"
        if self._failure:
            raise self._failure

    def wait_for(self, ended: int, *, timeout_s: float = 60.0) -> None:
        """Until so many further requests have ended, however."""
        wanted, deadline = len(self.calls.ended) + ended, time.monotonic() + timeout_s
        while len(self.calls.ended) < wanted:
            assert time.monotonic() < deadline, f"{len(self.calls.ended)} of {wanted} requests ended in time"
            assert self._thread.is_alive(), "the load has ended"
            time.sleep(0.01)  # between two looks of a poll with a deadline

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  # told in the test's own thread
            self._failure = error
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        async with AsyncClient(self._url, timeout_s=self._timeout_s, **self._client) as client:
            model = await client.model(self._model, **self._which)
            tasks: set[asyncio.Task[None]] = set()
            self._start = time.monotonic()
            self._begun.set()
            for due_s, row in self._schedule:
                while (early_s := due_s - self.elapsed_s) > 0 and not self._ending.is_set():
                    await asyncio.sleep(min(early_s, 0.05))
                if self._ending.is_set():
                    break
                self._depart(model, due_s, row, tasks)
                await asyncio.sleep(0)
            await self._last_answers(tasks)

    def _depart(self, model: AsyncModel, due_s: float, row: np.ndarray, tasks: set[asyncio.Task[None]]) -> None:
        self.calls.sent += 1
        self.calls.longest_lag_s = max(self.calls.longest_lag_s, self.elapsed_s - due_s)
        task = asyncio.create_task(self._call(model, due_s, row))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _call(self, model: AsyncModel, due_s: float, row: np.ndarray) -> None:
        began, version, words = time.monotonic(), None, ""
        try:
            answer = await model.infer({"x": row}, timeout_s=self._timeout_s)
            version = int(answer.model_version)
            kind = "answered" if np.array_equal(answer["y"], row + np.float32(version)) else "wrong"
            words = "" if kind == "answered" else f"version {version} answered {answer['y']} to {row}"
        except Exception as error:  # noqa: BLE001  # what a client must not raise counts as well
            kind, words = type(error).__name__, str(error)
        except asyncio.CancelledError:
            kind = "hung"
        overrun_s = max(0.0, time.monotonic() - began - self._timeout_s)
        ended = Call(due_s=due_s, ended_s=self.elapsed_s, version=version, kind=kind, words=words, overrun_s=overrun_s)
        self.calls.ended.append(ended)

    async def _last_answers(self, tasks: set[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._timeout_s + _LAST_ANSWERS_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_LAST_ANSWERS_S)
