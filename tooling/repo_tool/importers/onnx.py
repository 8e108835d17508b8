# SPDX-License-Identifier: Apache-2.0
"""ONNX: any valid model whose inputs and outputs are tensors, published as it is wherever the release allows."""

__all__ = ["OnnxImporter"]

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from repo_tool.errors import ReleaseError, RepoToolError, SourceError, needs_extra
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import looks_like
from repo_tool.importers.graphs import evaluator, opsets
from repo_tool.importers.graphs.evaluator import Evaluated
from repo_tool.importers.graphs.files import OnnxFile, publish, read_file
from repo_tool.importers.graphs.mending import Mended, mend, reference, with_vectors
from repo_tool.importers.graphs.opsets import Rewritten
from repo_tool.importers.onnx_graph import OnnxModel
from repo_tool.importers.trials import Trial, batching, try_rows
from repo_tool.samples import RawSample
from repo_tool.signature import ModelSignature
from repo_tool.verification import Tolerance, disagreement

_FRAMEWORK = "onnx"
_LONGEST_REASON = 240
_DEFAULTS_SINCE_IR = 4
_MOST_NAMES = 3
_SLOW = "ONNX's own reference implementation answers, which is slow"
_NEEDS = "the server needs the Python package onnx; the image of deploy/triton has it"
_LACKING = re.compile(r"(?:Could not find an implementation for|Failed to find kernel for) (\w+)\((\d+)\)")


class OnnxImporter:
    """ONNX files, with external data beside them if any."""

    framework = _FRAMEWORK
    extra = "onnx"

    def recognises(self, source: str) -> bool:
        """Whether it is named as ONNX files are; a protobuf's first bytes tell nothing."""
        return looks_like(source, suffixes={".onnx"}, kinds=())

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Check, copy, and answer the rows in ONNX Runtime with the file as it was given.

        What ONNX Runtime does not take is written in words that it knows; what it still does not, ONNX's own evaluator
        answers, as a Python model.

        Raises:
            SourceError: not valid, its external data is absent or elsewhere, nobody has its operators, or Triton
                cannot carry its tensors.
            SampleError: the rows do not fit.
            ReleaseError: its opset or IR version is newer than allowed.
        """
        with needs_extra("onnx"):
            import onnx  # noqa: F401 - so that its absence is told as such
            import onnxruntime  # noqa: F401
        _refuse_other_backends(request)
        file = read_file(Path(request.source))
        onnx_graph.refuse_what_triton_cannot_carry(file.model)
        defaults = _defaults(file.model)
        imported = _brought_in(file, request, sample, folder)
        return replace(imported, notes=(*imported.notes, *defaults))


def _brought_in(file: OnnxFile, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    if request.backend == "python":
        with _attempt(folder) as scratch:
            evaluated = evaluator.evaluate(file, sample, scratch)
            return _by_evaluator(evaluated, scratch, folder, reason="asked for with --backend python")
    try:
        with _attempt(folder) as scratch:
            return _moved(_by_runtime(file, request, sample, scratch), scratch, folder)
    except (SourceError, ReleaseError) as refused:
        if refused.fact.startswith(onnx_graph.FAILS_ON_ROWS) and sample is None:
            raise  # most likely it is the made-up rows that do not fit
        return _otherwise(refused, request, sample, folder)


def _defaults(model: OnnxModel) -> tuple[str, ...]:
    """A note on inputs that have a default, which ONNX lets a caller override; before IR 4 all weights were inputs."""
    if model.ir_version < _DEFAULTS_SINCE_IR:
        return ()
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [f"'{value.name}'" for value in model.graph.input if value.name in weights]
    if not names:
        return ()
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (f"fixed to the default that the file has: input {', '.join(names[:_MOST_NAMES])}{more}",)


def _refuse_other_backends(request: ImportRequest) -> None:
    if request.backend not in (None, "onnxruntime", "python"):
        raise SourceError(
            f"ONNX models are not served by the backend '{request.backend}'", next_step="leave --backend out"
        )


# --- attempts --------------------------------------------------------------------------------------------------------


@contextmanager
def _attempt(folder: Path) -> Iterator[Path]:
    """A folder inside ``folder`` that is gone afterwards, with what is left in it."""
    with TemporaryDirectory(dir=folder, prefix="attempt-") as scratch:
        yield Path(scratch)


def _moved(imported: ImportedModel, scratch: Path, folder: Path) -> ImportedModel:
    for entry in scratch.iterdir():
        entry.rename(folder / entry.name)
    return replace(imported, artifact=folder / imported.artifact.name)


def _otherwise(refused: RepoToolError, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    """What ``refused`` was said of, in other words or by ONNX's evaluator."""
    source = Path(request.source)
    with _attempt(folder) as scratch:
        # Asked only where needed: it is slow, and answers of a graph in other words may follow from ONNX alone.
        ask = cache(lambda: _evaluated_or_why_not(read_file(source), sample, scratch))
        tried = _in_other_words(refused, ask, request, sample, folder)
        if isinstance(tried, ImportedModel):
            return tried
        if request.backend is not None:
            raise refused
        evaluated = ask()
        if isinstance(evaluated, SourceError):
            raise _both(refused, evaluated) from evaluated
        reason = f"{_why(refused, tried, request)}; {_SLOW}"
        return _by_evaluator(evaluated, scratch, folder, reason=reason)


def _in_other_words(
    refused: RepoToolError,
    ask: Callable[[], Evaluated | SourceError],
    request: ImportRequest,
    sample: RawSample | None,
    folder: Path,
) -> ImportedModel | RepoToolError:
    """By ONNX Runtime, from a graph that says the same; or why not by the last such graph, if one is known."""

    def read() -> OnnxModel:
        return read_file(Path(request.source)).model

    words = f"{refused.fact} {refused.cause}"
    tried: ImportedModel | RepoToolError = refused
    for rewritten in opsets.lowered(read, request):
        tried = _as_rewritten(rewritten, ask, request, sample, folder)
        if isinstance(tried, ImportedModel):
            return tried
        words += f" {tried.cause}"
    for rewritten in opsets.spelled_out(read, request, words):
        tried = _as_rewritten(rewritten, ask, request, sample, folder)
        if isinstance(tried, ImportedModel):
            return tried
    return tried


def _evaluated_or_why_not(file: OnnxFile, sample: RawSample | None, scratch: Path) -> Evaluated | SourceError:
    try:
        return evaluator.evaluate(file, sample, scratch)
    except SourceError as error:
        return error


def _as_rewritten(
    rewritten: Rewritten,
    ask: Callable[[], Evaluated | SourceError],
    request: ImportRequest,
    sample: RawSample | None,
    folder: Path,
) -> ImportedModel | RepoToolError:
    """By ONNX Runtime in other words, or why not: it does not take these either, or answers otherwise."""
    evaluated = None if rewritten.exact else ask()
    if isinstance(evaluated, SourceError):
        return evaluated  # nobody can say what the answers should be
    file = replace(read_file(Path(request.source)), model=rewritten.model)
    try:
        with _attempt(folder) as inputs, _attempt(folder) as scratch:
            path = publish(file, rewritten.model, inputs)
            imported = _by_runtime(replace(file, path=path), request, sample, scratch)
            if evaluated is not None:
                imported = _held(imported, evaluated, request.allowed)
            return _moved(replace(imported, notes=(rewritten.note, *imported.notes)), scratch, folder)
    except (SourceError, ReleaseError) as error:
        return error


def _held(imported: ImportedModel, evaluated: Evaluated, tolerance: Tolerance) -> ImportedModel:
    """The model, to be held to the evaluator's answers.

    Raises:
        SourceError: ONNX Runtime's are others.
    """
    rows, answers = evaluated.trial.rows, evaluated.trial.answers
    session = onnx_graph.open_session(imported.artifact)
    complaint = disagreement(onnx_graph.run(session, rows.inputs), answers, tolerance=tolerance)
    if complaint:
        raise SourceError("in other words the model answers otherwise", cause=complaint)
    return replace(imported, inputs=rows.inputs, inputs_were_generated=rows.generated, reference=answers)


# --- by ONNX Runtime -------------------------------------------------------------------------------------------------


def _by_runtime(file: OnnxFile, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
    import onnx
    import onnxruntime

    onnx_graph.refuse_foreign_operators(file.model)
    mended = mend(file.model, request, file.path, sample)
    artifact = publish(file, mended.model if mended.notes else None, folder)
    onnx_graph.drop_weights(mended.model)
    onnx_graph.check(artifact, Path(request.source).name)
    signature, notes, trial = _try(mended, artifact, sample)
    return ImportedModel(
        framework=_FRAMEWORK,
        backend="onnxruntime",
        signature=signature,
        artifact=artifact,
        inputs=trial.rows.inputs,
        inputs_were_generated=trial.rows.generated,
        reference=reference(mended, file.path, trial),
        tool_versions={"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        notes=(*mended.notes, *notes),
    )


def _try(mended: Mended, artifact: Path, sample: RawSample | None) -> tuple[ModelSignature, tuple[str, ...], Trial]:
    """The signature and its notes, with rows answered by the artifact; the session ends here, with its weights."""
    session = onnx_graph.open_session(artifact)
    signature = onnx_graph.read_signature(session, mended.model)
    answer = partial(onnx_graph.run, session)
    trial = try_rows(with_vectors(sample, mended.scalars), signature.inputs, answer)
    signature, notes = batching(signature, answer, trial)
    return signature, notes, trial


# --- by ONNX's evaluator ---------------------------------------------------------------------------------------------


def _by_evaluator(evaluated: Evaluated, scratch: Path, folder: Path, *, reason: str) -> ImportedModel:
    import onnx

    rows = evaluated.trial.rows
    imported = ImportedModel(
        framework=_FRAMEWORK,
        backend="python",
        signature=evaluated.signature,
        artifact=evaluator.serve(scratch),
        inputs=rows.inputs,
        inputs_were_generated=rows.generated,
        reference=evaluated.trial.answers,
        tool_versions={"onnx": onnx.__version__},
        notes=(*evaluated.notes, _NEEDS),
        fallback_reason=reason,
    )
    return _moved(imported, scratch, folder)


def _why(refused: RepoToolError, tried: RepoToolError, request: ImportRequest) -> str:
    """Why ONNX Runtime does not answer, in one line that names the operator.

    Args:
        refused: what was said of the file.
        tried: what was said of it in the last other words.
        request: what was asked for.
    """
    lacking = _LACKING.search(refused.cause)
    if lacking:
        return f"ONNX Runtime has no {lacking[1]} of opset {lacking[2]} for these element types"
    if isinstance(refused, ReleaseError):
        newer = opsets.newer_operators(read_file(Path(request.source)).model, request)
        more = f"it needs {', '.join(newer)} as there" if newer else _brief(tried)
        return f"{refused.fact}: {more}" if newer or tried is not refused else refused.fact
    if refused.fact.startswith(onnx_graph.LACKS_OPERATORS):
        return refused.fact  # it names them
    return _brief(refused)


def _brief(error: RepoToolError) -> str:
    words = f"{error.fact}: {error.cause}" if error.cause else error.fact
    return words if len(words) <= _LONGEST_REASON else words[:_LONGEST_REASON] + " ..."


def _both(refused: RepoToolError, evaluated: SourceError) -> RepoToolError:
    if evaluated.fact == refused.fact:
        return refused
    causes = (refused.cause, evaluated.fact, evaluated.cause)
    return type(refused)(refused.fact, cause="; ".join(filter(None, causes)), next_step=refused.next_step)
