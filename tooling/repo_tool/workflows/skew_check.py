# SPDX-License-Identifier: Apache-2.0
"""The served pipeline against the training code's own preprocessing, wire by wire.

Wires that a client does not see are read from a probe: the same pipeline under another name, telling these as well,
compiled into the staging folder only. Its steps lie in the same models as the pipeline's own, so that what computes a
wire there computes it in the pipeline, and both must give a client the same.
"""

__all__ = ["AnsweredRow", "Same", "SkewCheck", "check_skew", "require_same_places", "told_wires"]

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from repo_tool.errors import ParityError, PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import Staging
from repo_tool.samples import Array
from repo_tool.verification import Infer
from repo_tool.workflows.add_pipeline_values import AddPipelineRequest
from repo_tool.workflows.pipeline_requests import rows_a_request
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.pipeline_staging import write_pipeline
from repo_tool.workflows.progress import Step
from repo_tool.workflows.proof import EarlyServer, triton_inference
from repo_tool.workflows.reference import MODEL_INPUT, Reference, ReferenceAnswers
from repo_tool.workflows.skew import SkewReport, WireComparison
from repo_tool.workflows.skew_coverage import untried
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
        PipelineError: the probe cannot be compiled, or not as the pipeline is.
        ParityError: it answers otherwise than the pipeline does.
        LoadRefusedError: Triton does not load the probe.
    """
    inner = [wire for wire in check.wires.values() if wire not in check.pipeline.outputs]
    probe = _serve_probe(check, stage, server, inner) if inner else None
    comparisons = {told: _comparison(check, wire, is_final=wire not in inner) for told, wire in check.wires.items()}
    same = Same({wire: _comparison(check, wire, is_final=True) for wire in check.compiled.typed.outputs})
    size = rows_a_request(check.rows.count, check.compiled, *filter(None, [probe]))
    with ExitStack() as clients:
        asked = [clients.enter_context(triton_inference(server.grpc_url, name)) for name in _names(check, probe)]
        for start, answers in check.answers:
            served = _served(check, asked, start, len(answers), size)
            for at, (found, wanted) in enumerate(zip(served, answers, strict=True)):
                same.add(start + at, found)
                for told, comparison in comparisons.items():
                    comparison.add(start + at, found.told[comparison.wire], wanted[told])
            step.detail = f"{start + len(answers)} of {check.answers.rows} rows"
    same.require(check.pipeline.name)
    return _report(check, comparisons)


def _names(check: SkewCheck, probe: CompiledPipeline | None) -> list[str]:
    """Of the models asked: the pipeline's own first, as it is going to be published."""
    return [check.pipeline.name, *([probe.own.config.name] if probe else [])]


def _comparison(check: SkewCheck, wire: str, *, is_final: bool) -> WireComparison:
    return WireComparison(
        wire=wire,
        step=_step_of(check.compiled.stages, wire),
        is_final=is_final,
        tolerance=check.request.allowed_for(wire, check.compiled.wires[wire].datatype),
        exact_integers=wire not in check.request.tolerances,
    )


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """What the pipeline answers for one, and what its probe does where there is one."""

    own: Mapping[str, Array]
    probe: Mapping[str, Array]

    @property
    def told(self) -> Mapping[str, Array]:
        """All wires: what a client sees from the pipeline itself."""
        return {**self.probe, **self.own}


@dataclass(frozen=True, slots=True)
class Same:
    """Whether the probe gives a client what the pipeline does, by the outputs."""

    outputs: Mapping[str, WireComparison]

    def add(self, row: int, answers: AnsweredRow) -> None:
        """Compare one row; nothing where there is no probe."""
        for wire, comparison in self.outputs.items() if answers.probe else ():
            comparison.add(row, answers.probe[wire], answers.own[wire])

    def require(self, pipeline: str) -> None:
        """Nothing, where they agree.

        Raises:
            ParityError: what the probe tells of inner wires says nothing about the pipeline.
        """
        for wire in (comparison.result() for comparison in self.outputs.values()):
            if not wire.equal:
                raise ParityError(
                    f"'{pipeline}' answers otherwise where it also tells what lies between its steps",
                    cause=f"'{wire.wire}': {wire.rows_that_differ} of {wire.rows} rows differ, "
                    f"{wire.served} with and {wire.wanted} without; {wire.allowed}",
                    next_step="nothing was published; let the reference tell what the pipeline answers: "
                    + ", ".join(self.outputs),
                )


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
    telling = check.pipeline.with_outputs(wires).model_copy(update={"name": _probe_name(check.pipeline)})
    probe = compile_pipeline(telling, check.repository, release=release(check.request.release))
    require_same_places(check.compiled, probe)
    write_pipeline(stage.repository, probe, 1, check.repository)
    server.load(probe.own.config.name)
    return probe


def require_same_places(compiled: CompiledPipeline, probe: CompiledPipeline) -> None:
    """See that each step of the probe runs where the pipeline's does, beside the same ones.

    Raises:
        PipelineError: it does not, so that its inner wires say nothing about the pipeline.
    """
    if _places(compiled) != _places(probe):
        raise PipelineError(
            f"what lies between the steps of '{compiled.own.config.name}' cannot be told as it is served",
            cause=f"with further outputs its models are {_places(probe)} instead of {_places(compiled)}",
            next_step=f"let the reference tell what the pipeline answers: {', '.join(compiled.typed.outputs)}",
        )


def _places(compiled: CompiledPipeline) -> list[tuple[str, list[str]]]:
    """The steps of each model that has some: one that only waits for another computes nothing."""
    return [(part.kind.value, [stage.name for stage in part.stages]) for part in compiled.parts if part.stages]


def _served(check: SkewCheck, ask: Sequence[Infer], start: int, count: int, size: int) -> Iterator[AnsweredRow]:
    """Each row's wires, as they come off the server."""
    for first in range(start, start + count, size):
        request = check.rows.take(first, min(first + size, start + count))
        own, *probe = [infer(request) for infer in ask]
        for row in range(len(next(iter(request.values())))):
            yield AnsweredRow(_of_row(own, row), _of_row(probe[0], row) if probe else {})


def _of_row(answer: Mapping[str, Array], row: int) -> Mapping[str, Array]:
    return {wire: array[row] for wire, array in answer.items()}


def _step_of(stages: Sequence[Stage], wire: str) -> str:
    writer = next((stage for stage in stages if wire in stage.outputs.values()), None)
    if isinstance(writer, StepStage):
        return f"step '{writer.name or writer.step.name}'"
    if isinstance(writer, BlockStage):
        return f"block '{writer.name or writer.kind}'"
    return f"model '{writer.config.name}'" if writer else "the pipeline"


def _report(check: SkewCheck, comparisons: Mapping[str, WireComparison]) -> SkewReport:
    first = next((each for each in comparisons.values() if each.kept), None)
    looks_like = ""
    if first is not None:
        looks_like = diagnose(
            Suspect(
                wire=first.wire,
                rows=first.kept,
                typed=check.compiled.typed,
                raw=check.rows,
                members=check.members,
                tolerance=first.tolerance,
                exact_integers=first.exact_integers,
            )
        )
    return SkewReport(
        reference=check.reference.source,
        digest=check.reference.digest,
        rows=check.answers.rows,
        wires=tuple(each.result(looks_like if each is first else "") for each in comparisons.values()),
        untried=untried(check.compiled.typed, check.rows, check.members),
    )
