# SPDX-License-Identifier: Apache-2.0
"""A pipeline file into the repository: compile, stage with its members, validate, verify on a real Triton, publish."""

__all__ = ["AddPipelineRequest", "AddedPipeline", "add_pipeline"]

import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from repo_tool.config.variants import CPU
from repo_tool.errors import PipelineError, RepositoryError, VersionExistsError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.releases import Release, release
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import pins_of
from repo_tool.repository.publish import StagedModel, Staging, next_version, publish, staging, translating_disk_errors
from repo_tool.samples import Sample
from repo_tool.verification import Infer, Parity, require_parity, verify
from repo_tool.workflows.add_pipeline_values import AddedPipeline, AddPipelineRequest, unentered
from repo_tool.workflows.found_models import FoundModels
from repo_tool.workflows.pipeline_provenance import Proof, write_proof
from repo_tool.workflows.pipeline_rows import PipelineRows, read_pipeline_rows
from repo_tool.workflows.pipeline_source import read_pipeline_source
from repo_tool.workflows.pipeline_staging import require_own_names, stage_members, write_pipeline
from repo_tool.workflows.pipeline_tools import other_in_image, tools_of
from repo_tool.workflows.progress import Progress, Step
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference
from repo_tool.workflows.reference import Reference, ReferenceAnswers, ask_reference, find_reference
from repo_tool.workflows.skew import SkewReport, require_no_skew
from repo_tool.workflows.skew_check import SkewCheck, check_skew, told_wires
from repo_tool.workflows.step_by_step import BlockVisits, Rows, Values, as_values, run_stages, stacked, take

_VERIFIED_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One call of ``add_pipeline``: what was read, and where it is tried."""

    request: AddPipelineRequest
    repository: ModelRepository
    found: FoundModels  # before anything was read
    release: Release
    pipeline: PipelineFile
    compiled: CompiledPipeline
    rows: PipelineRows
    reference: Reference | None
    version: int
    stage: Staging
    server: EarlyServer
    progress: Progress
    visits: dict[str, BlockVisits] = field(default_factory=dict)  # as the sample goes through the steps


def add_pipeline(request: AddPipelineRequest, progress: Progress) -> AddedPipeline:
    """Publish a pipeline whose served answers equal its steps run one by one; on failure nothing is published.

    With a ``reference``, its tensors must also equal those of the training code.

    Raises:
        PipelineError: the file does not describe a pipeline that can work, or the reference does not run.
        SampleError: the sample does not fit the pipeline's inputs.
        ParityError: the pipeline answers otherwise than its steps, or than the reference.
        LoadRefusedError: Triton does not load it.
    """
    with _prepared(request, progress) as run:
        answers = _ask_reference(run)
        with progress.step("write the models"), translating_disk_errors(run.repository.path):
            staged = write_pipeline(run.stage.repository, run.compiled, run.version, run.repository)
            stage_members(run.stage.repository, run.repository, run.compiled)
        with progress.step(f"validate for Triton {run.release.name}") as step:
            step.detail = require_valid(run.stage.repository, run.release)
        parity, skew = _proven(run, staged, answers)
        version = run.version if request.dry_run else _publish(run, staged)
    return AddedPipeline(
        directory=run.repository.model(run.pipeline.name),
        version=version,
        config=run.compiled.own.config,
        models=_models(run.compiled),
        parity=parity,
        skew=skew,
        blocks=run.visits,
        published=not request.dry_run,
    )


def _proven(
    run: _Run, staged: Sequence[StagedModel], answers: ReferenceAnswers | None
) -> tuple[Parity, SkewReport | None]:
    """As `_prove` does it, and written beside the models."""
    parity, sample, skew = _prove(run, staged, answers)
    proof = Proof(
        request=run.request,
        pipeline=run.pipeline,
        compiled=run.compiled,
        parity=parity,
        skew=skew,
        blocks=run.visits,
        sample=sample,
    )
    with translating_disk_errors(run.repository.path):
        write_proof(proof, run.stage.repository, run.repository, run.version)
    return parity, skew


@contextmanager
def _prepared(request: AddPipelineRequest, progress: Progress) -> Iterator[_Run]:
    """What needs no server is refused before one starts."""
    repository, triton_release = ModelRepository(request.repository), release(request.release)
    found = FoundModels.of(repository)
    reference = find_reference(request.reference) if request.reference else None
    with progress.step("compile") as step:
        pipeline = read_pipeline_source(request.file)
        repository.model(pipeline.name)  # whose name may be none
        compiled = compile_pipeline(pipeline, repository, release=triton_release)
        typed = compiled.typed
        inputs = {name: typed.wires[name] for name in typed.inputs}
        rows = read_pipeline_rows(request.sample, inputs, columns=typed.columns, count=typed.rows)
        step.detail = "; ".join((_parts_words(compiled), *other_in_image(tools_of(compiled))))
    generated = [model.config.name for model in compiled.models]
    require_own_names(pipeline.name, generated, repository)
    version = max(next_version(repository.model(name)) for name in (pipeline.name, *generated))
    with staging(repository) as stage, EarlyServer(stage.repository.path, triton_release) as server:
        yield _Run(
            request=request,
            repository=repository,
            found=found,
            release=triton_release,
            pipeline=pipeline,
            compiled=compiled,
            rows=rows,
            reference=reference,
            version=version,
            stage=stage,
            server=server,
            progress=progress,
        )


def _parts_words(compiled: CompiledPipeline) -> str:
    steps, models = len(list(compiled.typed.all_stages())), len(_models(compiled))
    models -= compiled.is_ensemble and models > 1
    return f"{steps} step{'s' if steps > 1 else ''} in {models} model{'s' if models > 1 else ''}"


def _models(compiled: CompiledPipeline) -> tuple[str, ...]:
    """Those that answer, in their order, the pipeline's own last."""
    called = [step.model_name for step in compiled.own.config.ensemble_steps]
    more = [name for name in pins_of(compiled.own.config) if name not in called]
    return tuple(dict.fromkeys((*called, *more, compiled.own.config.name)))


def _ask_reference(run: _Run) -> ReferenceAnswers | None:
    """The training code first: while it runs the server starts, and a mistake in it is told at once."""
    if run.reference is None:
        return None
    with run.progress.step(f"call {run.reference.source}") as step:

        def told(rows: int) -> None:
            step.detail = f"{rows} of {run.rows.count} rows"

        folder = run.stage.work_path / "reference"
        folder.mkdir()
        answers = ask_reference(run.reference, run.rows, folder, told=told)
        _require_known(run, told_wires(run.pipeline, run.compiled, answers).values())
        step.detail = f"{answers.rows} rows" + (f" of {', '.join(answers.wires)}" if any(answers.wires) else "")
    return answers


def _require_known(run: _Run, wires: Collection[str]) -> None:
    """See that what is tolerated is told at all, before anything is tried."""
    unknown = [wire for wire in run.request.tolerances if wire not in wires]
    if unknown:
        raise PipelineError(
            f"'{unknown[0]}' is tolerated, and the reference does not tell it",
            cause=f"it tells {', '.join(wires)}",
            next_step=did_you_mean(unknown[0], wires) or "name one of them",
        )


def _prove(
    run: _Run, staged: Sequence[StagedModel], answers: ReferenceAnswers | None
) -> tuple[Parity, Sample, SkewReport | None]:
    """Against the steps run one by one, then against the training code."""
    name, server, tolerance = run.pipeline.name, run.server, run.request.tolerance
    with ExitStack() as clients:
        with run.progress.step("verify on Triton") as step:
            server.load(name)
            members = dict(_members(run, clients))
            infer = clients.enter_context(triton_inference(server.grpc_url, name))
            sample = _step_by_step(run, members)
            parity = verify(infer, run.compiled.own.config, sample, tolerance=tolerance)
            require_parity(parity, model=name, framework="its steps run alone", tolerance=tolerance)
            step.detail = "; ".join((parity.summary, *unentered(run.visits)))
        if any(CPU in model.directory.variants() for model in staged):
            _prove_on_cpu(run, sample)
        if run.reference is None or answers is None:
            return parity, sample, None
        with run.progress.step(f"compare with {run.reference.source}") as step:
            skew = _compare(run, run.reference, answers, members, step)
    return parity, sample, skew


def _prove_on_cpu(run: _Run, sample: Sample) -> None:
    """The same on a server that reads ``configs/cpu.pbtxt``; whoever shares the repository may start one so."""
    name, tolerance = run.pipeline.name, run.request.tolerance
    with (
        run.progress.step("verify configs/cpu.pbtxt") as step,
        EarlyServer(run.stage.repository.path, run.release, model_config_name=CPU) as server,
    ):
        for model in (*run.compiled.called_versions, name):
            server.load(model)
        with triton_inference(server.grpc_url, name) as infer:
            parity = verify(infer, run.compiled.own.config, sample, tolerance=tolerance)
        require_parity(parity, model=name, framework="its steps run alone", tolerance=tolerance)
        step.detail = parity.summary


def _members(run: _Run, clients: ExitStack) -> Iterator[tuple[str, Infer]]:
    """How to ask each model of the repository, also those that the pipeline has merged."""
    for name, version in run.compiled.member_versions.items():
        run.server.load(name)
        yield name, clients.enter_context(triton_inference(run.server.grpc_url, name, version=version))


def _compare(
    run: _Run, reference: Reference, answers: ReferenceAnswers, members: Mapping[str, Infer], step: Step
) -> SkewReport:
    check = SkewCheck(
        request=run.request,
        repository=run.repository,
        pipeline=run.pipeline,
        compiled=run.compiled,
        rows=run.rows,
        reference=reference,
        answers=answers,
        wires=told_wires(run.pipeline, run.compiled, answers),
        members=members,
    )
    report = check_skew(check, run.stage, run.server, step)
    step.detail = report.summary
    require_no_skew(report, pipeline=run.pipeline.name)
    return report


def _step_by_step(run: _Run, members: Mapping[str, Infer]) -> Sample:
    """The rows with the answers of the steps; where rows differ in shape between models, those of the commonest one."""
    typed = run.compiled.typed
    inputs = run.rows.take(0, _VERIFIED_ROWS) if typed.max_batch_size else dict(run.rows.inputs)
    values = run_stages(typed.stages, typed.wires, as_values(inputs, typed.wires), members, run.visits)
    chosen = _of_one_shape(run.compiled, values)
    outputs = {output.name: stacked(take(values[output.name], chosen)) for output in run.compiled.own.config.outputs}
    return Sample(inputs={name: array[chosen] for name, array in inputs.items()}, outputs=outputs)


def _of_one_shape(compiled: CompiledPipeline, values: Values) -> list[int]:
    crossing = {*compiled.typed.outputs, *(wire for part in compiled.parts for wire in part.writes)}
    free: list[Rows] = [values[wire] for wire in sorted(crossing) if isinstance(values.get(wire), list)]
    rows = len(next(iter(values.values())))
    shapes = [tuple(each[row].shape for each in free) for row in range(rows)]
    commonest = Counter(shapes).most_common(1)[0][0]
    return [row for row in range(rows) if shapes[row] == commonest]


def _publish(run: _Run, staged: list[StagedModel]) -> int:
    """Whole or not at all; the number stays where models ask for one another by it."""
    generated = [model.config.name for model in run.compiled.models]

    def require() -> None:
        require_own_names(run.pipeline.name, generated, run.repository)  # again: some may be new
        called = run.compiled.called_versions
        run.found.require_unchanged({*called, *needed_models(run.repository, called)})

    _remove_bytecode(staged)
    with run.progress.step("publish"):
        try:
            return publish(staged, run.repository, renumber=not generated, require=require)
        except VersionExistsError as error:
            raise RepositoryError(
                f"somebody else has published '{run.pipeline.name}' meanwhile",
                cause=error.fact,
                next_step="run the command again",
            ) from error


def _remove_bytecode(staged: list[StagedModel]) -> None:
    """What the server's Python has kept for itself, which heeds no variable of the environment."""
    for model in staged:
        for folder in model.directory.path.rglob("__pycache__"):
            shutil.rmtree(folder)
