# SPDX-License-Identifier: Apache-2.0
"""Rows through a served pipeline: as a client sends them, or model by model with every tensor on the way."""

__all__ = ["RanPipeline", "RunRequest", "Trace", "TracedPart", "TracedStage", "run_pipeline"]

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from repo_client import Client
from repo_tool.config import pbtxt
from repo_tool.config.model import VersionPolicy
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import RepositoryError, RepoToolError, SampleError, ServerUnreachableError
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.samples import Array, Tensors, read_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.verification import Infer
from repo_tool.workflows.call_model import translating_client_errors
from repo_tool.workflows.pipeline_requests import rows_a_request
from repo_tool.workflows.pipeline_rows import PipelineRows, read_pipeline_rows
from repo_tool.workflows.pipeline_source import published_version, read_pipeline_source
from repo_tool.workflows.pipeline_staging import write_pipeline
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import in_wire_shapes
from repo_tool.workflows.step_by_step import Rows, Values, as_rows, as_values, run_stages, stacked
from repo_tool.workflows.trace_tensors import SeenTensor, see

_ROUNDING = 1e-4
_REPEATS, _REPEAT_S = 5, 0.5  # a call is measured again so often, as long as it takes no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Which rows to send through which pipeline; without ``server`` an embedded one is started."""

    pipeline: str  # a file, or the name of a published one
    repository: Path = Path("model_repository")
    sample: Path | None = None  # None: the rows published with it
    row: int | None = None  # None: all of them; of a trace the first
    trace: bool = False
    server: str | None = None
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStage:
    """A step, a model or a block inside a part, run here on what it got there."""

    title: str
    seconds: float
    writes: tuple[SeenTensor, ...]
    where: str  # "here", or "alone" for a model of the repository that the part has merged or calls
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "title": self.title,
            "ms": round(self.seconds * 1e3, 3),
            "where": self.where,
            "writes": [tensor.to_dict() for tensor in self.writes],
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPart:
    """A Triton model of the pipeline, asked by itself."""

    model: str
    kind: str
    reason: str
    seconds: float  # of a request and its answer, after a first one
    reads: tuple[SeenTensor, ...]
    writes: tuple[SeenTensor, ...]
    stages: tuple[TracedStage, ...]
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "model": self.model,
            "kind": self.kind,
            "reason": self.reason,
            "ms": round(self.seconds * 1e3, 3),
            "reads": [tensor.to_dict() for tensor in self.reads],
            "writes": [tensor.to_dict() for tensor in self.writes],
            "stages": [stage.to_dict() for stage in self.stages],
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All parts in their order, the last one being that which failed if one did."""

    inputs: tuple[SeenTensor, ...]
    parts: tuple[TracedPart, ...]
    largest_difference: float | None  # of the last parts' answers to the pipeline's own; None: there are none

    @property
    def failed_at(self) -> str:
        """The step, model or block that failed, and in which model; empty where none did."""
        part = next((part for part in self.parts if part.error), None)
        if part is None:
            return ""
        stage = next((stage for stage in part.stages if stage.error), None)
        return f"{stage.title} in '{part.model}'" if stage else f"model '{part.model}'"

    @property
    def agrees(self) -> bool:
        """Whether the pipeline's own answer is the last parts', but for rounding."""
        return self.largest_difference is not None and self.largest_difference <= _ROUNDING

    @property
    def seconds(self) -> float:
        """Of all parts together."""
        return sum(part.seconds for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RanPipeline:
    """The pipeline's own answer, and how it came to it where that was asked for."""

    name: str
    origin: str  # of the rows
    row: int | None  # which of them; None: all
    rows: int
    outputs: Mapping[str, Rows] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""  # what the pipeline answered instead
    trace: Trace | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "pipeline": self.name,
            "sample": self.origin,
            "row": self.row,
            "rows": self.rows,
            "ms": round(self.seconds * 1e3, 3),
            "error": self.error,
            "outputs": {name: [_plain(row.tolist()) for row in rows] for name, rows in self.outputs.items()},
            "trace": None
            if self.trace is None
            else {
                "inputs": [tensor.to_dict() for tensor in self.trace.inputs],
                "parts": [part.to_dict() for part in self.trace.parts],
                "ms": round(self.trace.seconds * 1e3, 3),
                "failed_at": self.trace.failed_at,
                "largest_difference": self.trace.largest_difference,
            },
        }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return None if isinstance(value, float) and value - value != 0 else value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A compiled pipeline on a server that may be asked for each of its models."""

    compiled: CompiledPipeline
    ask: Callable[[str, int | None], Infer]


def run_pipeline(request: RunRequest, progress: Progress) -> RanPipeline:
    """Send rows; with ``trace`` ask each model for itself, and run here what is inside it.

    A row that the pipeline refuses is part of the answer.

    Raises:
        PipelineError: there is no such pipeline.
        SampleError: the rows do not fit it.
        ServerUnreachableError, RepositoryError: no server answers, or it does not serve the pipeline.
        LoadRefusedError: the embedded server does not load it.
    """
    repository = ModelRepository(request.repository)
    pipeline = read_pipeline_source(request.pipeline, repository)
    compiled = compile_pipeline(pipeline, repository)
    rows, chosen = _rows(request, repository, compiled)
    inputs = rows.take(chosen, chosen + 1) if chosen is not None else dict(rows.inputs)
    with _serving(request, repository, compiled, progress) as served:
        outputs, seconds, error, trace = _asked(served, inputs, progress, is_traced=request.trace)
    return RanPipeline(
        name=pipeline.name,
        origin=rows.origin,
        row=chosen,
        rows=rows.count,
        outputs=outputs,
        seconds=seconds,
        error=error,
        trace=trace,
    )


def _asked(
    served: _Served, inputs: Tensors, progress: Progress, *, is_traced: bool
) -> tuple[Values, float, str, Trace | None]:
    """What `_ask_whole` gives, and the trace."""
    with progress.step("ask the pipeline") as step:
        outputs, seconds, error = _ask_whole(served, inputs)
        step.detail = error or f"{seconds * 1e3:.1f} ms"
    if not is_traced:
        return outputs, seconds, error, None
    with progress.step("ask its models one by one") as step:
        trace = _trace(served, inputs, outputs)
        step.detail = trace.failed_at or f"{trace.seconds * 1e3:.1f} ms together"
    return outputs, seconds, error, trace


def _rows(
    request: RunRequest, repository: ModelRepository, compiled: CompiledPipeline
) -> tuple[PipelineRows, int | None]:
    typed = compiled.typed
    inputs = {name: typed.wires[name] for name in typed.inputs}
    if request.sample is not None:
        rows = read_pipeline_rows(request.sample, inputs, columns=typed.columns, count=typed.rows)
    else:
        rows = _published_rows(request, repository)
    wanted = request.row if request.row is not None else 0 if request.trace and typed.max_batch_size else None
    if wanted is not None and (wanted >= rows.count or not typed.max_batch_size):
        raise SampleError(
            f"there is no row {wanted} in '{rows.origin}'",
            cause=f"it has {rows.count}, counted from 0" if typed.max_batch_size else "the pipeline takes all at once",
            next_step="choose another with --row" if typed.max_batch_size else "leave --row out",
        )
    return rows, wanted


def _published_rows(request: RunRequest, repository: ModelRepository) -> PipelineRows:
    version = published_version(request.pipeline, repository)
    if version is None:
        raise SampleError(
            f"there are no rows for '{request.pipeline}'",
            cause="only a published pipeline has some of its own",
            next_step="pass them with --sample",
        )
    path = repository.model(request.pipeline).sample_path(version)
    return PipelineRows(origin="the published sample", inputs=read_published_sample(path).inputs)


# --- the server ------------------------------------------------------------------------------------------------------


@contextmanager
def _serving(
    request: RunRequest, repository: ModelRepository, compiled: CompiledPipeline, progress: Progress
) -> Iterator[_Served]:
    with ExitStack() as stack:
        load: Callable[[str], None] = _leave
        url = request.server
        if url is None:
            server = _embedded(stack, request, repository, compiled, progress)
            load, url = server.load, f"grpc://{server.grpc_url}"
        stack.enter_context(translating_client_errors(compiled.own.config.name, request.repository))
        client = stack.enter_context(Client(url, timeout_s=request.timeout_s))

        @cache
        def ask(model: str, version: int | None) -> Infer:
            load(model)
            with translating_client_errors(model, request.repository):
                infer = in_wire_shapes(client.model(model, version=version))

            def translated(tensors: Tensors) -> Tensors:
                with translating_client_errors(model, request.repository):
                    return infer(tensors)

            return translated

        yield _Served(compiled=compiled, ask=ask)


def _embedded(
    stack: ExitStack,
    request: RunRequest,
    repository: ModelRepository,
    compiled: CompiledPipeline,
    progress: Progress,
) -> EmbeddedServer:
    """A server of its own, which ends with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="repo-tool-")))
    _lay_out(folder, request, repository, compiled)
    options = ServerOptions(graceful_stop_s=0, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    with progress.step("start Triton") as step:
        server = stack.enter_context(EmbeddedServer(folder, options))
        for name in (*compiled.called_versions, compiled.own.config.name):  # blocks call models that nobody loads
            server.load(name)
        step.detail = "embedded"
    return server


def _leave(_model: str) -> None:
    """What runs already loads what it serves."""


def _lay_out(folder: Path, request: RunRequest, repository: ModelRepository, compiled: CompiledPipeline) -> None:
    """The whole repository by links; a pipeline that is a file in place of what is published under its names."""
    is_published = published_version(request.pipeline, repository) is not None and not Path(request.pipeline).is_file()
    made = () if is_published else (*(model.config.name for model in compiled.models), compiled.own.config.name)
    if not is_published:
        write_pipeline(ModelRepository(folder), compiled, 1, repository)
    for model in repository.models():
        if model.name not in made:
            _link(model, folder / model.name, compiled.member_versions.get(model.name))


def _link(model: ModelDirectory, place: Path, asked: int | None) -> None:
    """The model under another name, also with the version that is asked alone: a merged one need not be served."""
    there = model.versions()
    config = model.read_config() if asked in there else None
    served = () if config is None else served_versions(config.version_policy, there)
    if asked is None or config is None or asked in served:
        place.symlink_to(model.path.absolute())
        return
    place.mkdir()
    for entry in model.path.iterdir():
        if entry != model.config_path:
            (place / entry.name).symlink_to(entry.absolute())
    policy = VersionPolicy(specific=tuple(sorted({*served, asked})))
    (place / model.config_path.name).write_text(pbtxt.render(replace(config, version_policy=policy)), encoding="utf-8")


# --- asking ----------------------------------------------------------------------------------------------------------


def _ask_whole(served: _Served, inputs: Tensors) -> tuple[Values, float, str]:
    """The answers of as few requests as possible, how long one of them took, and what went wrong."""
    infer = served.ask(served.compiled.own.config.name, None)
    typed, rows = served.compiled.typed, len(next(iter(inputs.values())))
    size = rows_a_request(rows, served.compiled)
    requests = [{name: array[at : at + size] for name, array in inputs.items()} for at in range(0, rows, size)]
    try:
        answers = [infer(request) for request in requests]
        seconds = _seconds(partial(infer, requests[0]))
    except (RepositoryError, ServerUnreachableError):
        raise
    except RepoToolError as error:
        return {}, 0.0, str(error.fact)
    found = {name: as_rows([answer[name] for answer in answers], typed.wires[name]) for name in typed.outputs}
    return found, seconds, ""


def _seconds(call: Callable[[], object]) -> float:
    """The median of a few calls, which are not the first."""
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _REPEAT_S:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def _trace(served: _Served, inputs: Tensors, outputs: Mapping[str, Rows]) -> Trace:
    typed = served.compiled.typed
    values: Values = as_values(inputs, typed.wires)
    parts: list[TracedPart] = []
    for part in served.compiled.parts:
        traced, written = _trace_part(served, part, values)
        parts.append(traced)
        if traced.error:
            break
        values |= written
    return Trace(
        inputs=_seen(served, values, typed.inputs),
        parts=tuple(parts),
        largest_difference=_difference(values, outputs) if outputs and not parts[-1].error else None,
    )


def _trace_part(served: _Served, part: Part, values: Values) -> tuple[TracedPart, Values]:
    stages = tuple(_trace_stages(served, part, values)) if _has_inside(part) else ()
    written: Values = {}
    seconds, error = 0.0, ""
    try:
        written, seconds = _ask_part(served, part, values)
    except (RepositoryError, ServerUnreachableError):
        raise
    except RepoToolError as failure:
        error = failure.fact
    return (
        TracedPart(
            model=part.name,
            kind=part.kind.value,
            reason=part.reason,
            seconds=seconds,
            reads=_seen(served, values, part.reads),
            writes=_seen(served, written, written),
            stages=stages if not error else _up_to_failure(stages),
            error=error,
        ),
        written,
    )


def _has_inside(part: Part) -> bool:
    return part.kind is not PartKind.MEMBER


def _up_to_failure(stages: Sequence[TracedStage]) -> tuple[TracedStage, ...]:
    at = next((place for place, stage in enumerate(stages) if stage.error), len(stages))
    return tuple(stages[: at + 1])


def _ask_part(served: _Served, part: Part, values: Values) -> tuple[Values, float]:
    """What the part's model answers, by wire."""
    wires = served.compiled.typed.wires
    stage = part.stages[0] if part.kind is PartKind.MEMBER else None
    if isinstance(stage, ModelStage):
        infer = served.ask(stage.config.name, stage.version)
        request = {own: stacked(values[wire]) for own, wire in stage.inputs.items()}
        answer = infer(request)
        found = {wire: as_rows([answer[own]], wires[wire]) for own, wire in stage.outputs.items()}
        return found, _seconds(partial(infer, request))
    infer = served.ask(part.name, None)
    request = {wire: stacked(values[wire]) for wire in part.reads}
    answer = infer(request)
    return {wire: as_rows([answer[wire]], wires[wire]) for wire in part.writes}, _seconds(partial(infer, request))


def _trace_stages(served: _Served, part: Part, values: Values) -> Iterator[TracedStage]:
    """Each stage inside the part, on what it gets there; ends at the one that fails."""
    wires = served.compiled.typed.wires
    members = _Members(served)
    found = dict(values)
    for stage in part.stages:
        error, seconds, given = "", 0.0, found
        try:
            found = run_stages((stage,), wires, given, members)
            seconds = _seconds(partial(run_stages, (stage,), wires, given, members))
        except RepoToolError as failure:
            error = failure.cause or failure.fact
        writes = () if error else _seen(served, found, stage.outputs.values())
        where = "alone" if isinstance(stage, ModelStage) else "here"
        yield TracedStage(title=_title(stage), seconds=seconds, writes=writes, where=where, error=error)
        if error:
            return


class _Members(Mapping[str, Infer]):
    """The repository's models, asked for when they are needed."""

    def __init__(self, served: _Served) -> None:
        self._served = served

    def __getitem__(self, name: str) -> Infer:
        return self._served.ask(name, self._served.compiled.member_versions[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._served.compiled.member_names)

    def __len__(self) -> int:
        return len(self._served.compiled.member_names)


def _title(stage: Stage) -> str:
    if isinstance(stage, StepStage):
        return f"step '{stage.name or stage.step.name}'"
    if isinstance(stage, BlockStage):
        return f"block '{stage.name or stage.kind}'"
    return f"model '{stage.config.name}'"


def _seen(served: _Served, values: Mapping[str, Rows], names: Any) -> tuple[SeenTensor, ...]:
    wires = served.compiled.typed.wires
    return tuple(see(name, values[name], wires[name].datatype) for name in names)


def _difference(values: Values, outputs: Mapping[str, Rows]) -> float:
    """The largest of any output; infinite where words, or shapes, differ."""
    pairs = (pair for name, rows in outputs.items() if name in values for pair in zip(values[name], rows, strict=True))
    return max((_apart(ours, theirs) for ours, theirs in pairs), default=0.0)


def _apart(ours: Array, theirs: Array) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    if object in (ours.dtype, theirs.dtype):
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    same = (ours == theirs) | (np.isnan(ours.astype(np.float64)) & np.isnan(theirs.astype(np.float64)))
    distance = np.where(same, 0.0, np.abs(ours.astype(np.float64) - theirs.astype(np.float64)))
    return float(np.nan_to_num(distance, nan=np.inf).max(initial=0.0))
