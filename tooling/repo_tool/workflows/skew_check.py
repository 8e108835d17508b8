# SPDX-License-Identifier: Apache-2.0
"""The served pipeline against the training code's own preprocessing, wire by wire.

Wires that a client does not see are read from a probe: the same pipeline under another name, telling these as well,
compiled into the staging folder only.
"""

__all__ = ["SkewCheck", "check_skew", "told_wires"]

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from repo_tool.errors import PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage, TypedPipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import Staging
from repo_tool.samples import Array
from repo_tool.verification import Infer
from repo_tool.workflows.add_pipeline_values import AddPipelineRequest
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.pipeline_staging import write_pipeline
from repo_tool.workflows.progress import Step
from repo_tool.workflows.proof import EarlyServer, triton_inference
from repo_tool.workflows.reference import MODEL_INPUT, Reference, ReferenceAnswers
from repo_tool.workflows.skew import SkewReport, WireComparison
from repo_tool.workflows.skew_diagnosis import Suspect, diagnose

_PROBE = "probe"  # behind the pipeline's name


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewCheck:
    """What is compared: a pipeline that lies in the staging folder and is served, and what its reference answered."""

    request: AddPipelineRequest
    repository: ModelRepository
    pipeline: PipelineFile
    compiled: CompiledPipeline
    rows: PipelineRows
    reference: Reference
    answers: ReferenceAnswers
    wires: Mapping[str, str]  # as `told_wires` gives them
    members: Mapping[str, Infer]


def check_skew(check: SkewCheck, stage: Staging, server: EarlyServer, step: Step) -> SkewReport:
    """Compare all rows; ``step`` is told how far it is.

    Raises:
        PipelineError: the probe cannot be compiled.
        LoadRefusedError: Triton does not load the probe.
    """
    inner = [wire for wire in check.wires.values() if wire not in check.pipeline.outputs]
    probe = _serve_probe(check, stage, server, inner) if inner else None
    own = check.compiled if len(inner) < len(check.wires) else None
    asked = [compiled for compiled in (own, probe) if compiled is not None]
    typed = (probe or check.compiled).typed
    comparisons = {
        told: WireComparison(
            wire=wire,
            step=_step_of(typed.stages if wire in inner else check.compiled.stages, wire),
            is_final=wire not in inner,
            tolerance=check.request.allowed_for(wire),
            exact_integers=wire not in check.request.tolerances,
        )
        for told, wire in check.wires.items()
    }
    size = _rows_a_request(check, asked)
    with ExitStack() as clients:
        ask = [clients.enter_context(triton_inference(server.grpc_url, compiled.own.config.name)) for compiled in asked]
        for start, answers in check.answers:
            served = _served(check, ask, start, len(answers), size)
            for at, (found, wanted) in enumerate(zip(served, answers, strict=True)):
                for told, comparison in comparisons.items():
                    comparison.add(start + at, found[comparison.wire], wanted[told])
            step.detail = f"{start + len(answers)} of {check.answers.rows} rows"
    return _report(check, typed, comparisons)


def told_wires(pipeline: PipelineFile, compiled: CompiledPipeline, answers: ReferenceAnswers) -> dict[str, str]:
    """The pipeline's wires by what the reference calls them, in the order in which the pipeline writes them.

    Raises:
        PipelineError: it tells wires that the pipeline does not have, or that do not leave a block.
    """
    if answers.wires == (MODEL_INPUT,):
        return {MODEL_INPUT: _model_input(compiled)}
    told_as = {wire: told for told, wire in pipeline.outputs.items()}
    known = [wire for wire in compiled.wires if wire not in compiled.typed.inputs]
    meant = {told: told if told in known else told_as.get(told, told) for told in answers.wires}
    for told, wire in meant.items():
        if wire not in known:
            raise PipelineError(
                f"the reference tells a '{told}', and the pipeline has no such wire",
                cause=f"it has {', '.join(known)}; what is inside a block is not told",
                next_step=did_you_mean(told, known) or "call what it answers as the pipeline calls its wires",
            )
    return dict(sorted(meant.items(), key=lambda pair: known.index(pair[1])))


def _model_input(compiled: CompiledPipeline) -> str:
    """What an array without a name is.

    Raises:
        PipelineError: there is no model, or it has more than one input.
    """
    model = next((stage for stage in compiled.stages if isinstance(stage, ModelStage)), None)
    wires = dict.fromkeys(model.inputs.values() if model else compiled.typed.outputs)
    found = [wire for wire in wires if wire not in compiled.typed.inputs]
    if len(found) == 1:
        return found[0]
    raise PipelineError(
        "the reference answers one array, and it is not clear of which wire",
        cause=f"the {'inputs of the first model' if model else 'outputs'} are {', '.join(wires)}",
        next_step="answer a dict of arrays by the names of wires",
    )


def _probe_name(pipeline: PipelineFile) -> str:
    return f"{pipeline.name}_{_PROBE}"


def _serve_probe(check: SkewCheck, stage: Staging, server: EarlyServer, wires: Sequence[str]) -> CompiledPipeline:
    telling = check.pipeline.with_outputs(wires)
    probe = compile_pipeline(telling.model_copy(update={"name": _probe_name(check.pipeline)}), check.repository)
    write_pipeline(stage.repository, probe, 1, check.repository)
    server.load(probe.own.config.name)
    return probe


def _rows_a_request(check: SkewCheck, asked: Sequence[CompiledPipeline]) -> int:
    """As many as the pipeline takes; one where what leaves a model may differ in shape from row to row."""
    typed = check.compiled.typed
    if typed.max_batch_size == 0:
        return check.rows.count
    is_free = any(
        -1 in compiled.typed.wires[wire].dims for compiled in asked for part in compiled.parts for wire in part.writes
    )
    return 1 if is_free else typed.max_batch_size


def _served(check: SkewCheck, ask: Sequence[Infer], start: int, count: int, size: int) -> Iterator[dict[str, Array]]:
    """Each row's wires, as they come off the server."""
    for first in range(start, start + count, size):
        request = check.rows.take(first, min(first + size, start + count))
        answers = [infer(request) for infer in ask]
        for row in range(len(next(iter(request.values())))):
            yield {wire: array[row] for answer in answers for wire, array in answer.items()}


def _step_of(stages: Sequence[Stage], wire: str) -> str:
    writer = next((stage for stage in stages if wire in stage.outputs.values()), None)
    if isinstance(writer, StepStage):
        return f"step '{writer.name or writer.step.name}'"
    if isinstance(writer, BlockStage):
        return f"block '{writer.name or writer.kind}'"
    return f"model '{writer.config.name}'" if writer else "the pipeline"


def _report(check: SkewCheck, typed: TypedPipeline, comparisons: Mapping[str, WireComparison]) -> SkewReport:
    first = next((each for each in comparisons.values() if each.kept), None)
    looks_like = ""
    if first is not None:
        looks_like = diagnose(
            Suspect(
                wire=first.wire,
                rows=first.kept,
                typed=check.compiled.typed if first.is_final else typed,
                raw=check.rows,
                members=check.members,
                tolerance=first.tolerance,
            )
        )
    return SkewReport(
        reference=check.reference.source,
        digest=check.reference.digest,
        rows=check.answers.rows,
        wires=tuple(each.result(looks_like if each is first else "") for each in comparisons.values()),
    )
