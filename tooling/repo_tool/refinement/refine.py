# SPDX-License-Identifier: Apache-2.0
"""Refine an ONNX artifact in a worker process, and let nothing pass that differs too much from its framework."""

__all__ = ["refine"]

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from repo_tool.errors import ParityError, SourceError, error_from_dict
from repo_tool.importers.base import ImportedModel
from repo_tool.refinement.plan import Agreement, Measured, Refinement, RefinementResult
from repo_tool.samples import Sample, write_published_sample
from repo_tool.signature import ModelSignature
from repo_tool.verification import OutputParity, Parity, Tolerance

_LAST_WORDS = 600  # characters of what a dead worker printed
_SECONDS = 1800


def refine(
    imported: ImportedModel, wanted: Refinement, *, tolerance: Tolerance, limits: Mapping[str, Any]
) -> tuple[ImportedModel, RefinementResult]:
    """The model with a new artifact in the place of the old, and what it came to.

    Args:
        imported: a model served by ONNX Runtime, its artifact alone in its folder but for its weights.
        wanted: what to do.
        tolerance: how far it may be from ``imported.reference``.
        limits: ``max_opset``, ``max_ir_version`` and ``release``, as an ``ImportRequest`` has them.

    Raises:
        SourceError: no ONNX artifact, or it cannot be done.
        ParityError: it differs by more than the tolerance.
    """
    _refuse_other_backends(imported, wanted)
    artifact = imported.artifact
    with TemporaryDirectory(dir=artifact.parent.parent, prefix="refine-") as scratch:
        answer = _ask_worker(imported, wanted, tolerance, limits, Path(scratch))
        result = _result(answer)
        _require(result, wanted, tolerance)
        for old in artifact.parent.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()  # weights may lie in a folder of their own
        for new in (Path(scratch) / "refined").iterdir():
            new.rename(artifact.parent / new.name)
    signature = ModelSignature.from_dict(answer["signature"])
    return replace(imported, signature=signature, notes=(*imported.notes, *result.how)), result


def _refuse_other_backends(imported: ImportedModel, wanted: Refinement) -> None:
    if imported.backend != "onnxruntime":
        raise SourceError(
            f"{wanted.words} is for ONNX models; this one is served by the {imported.backend} backend",
            cause=imported.fallback_reason,
            next_step="leave --precision and --optimize out",
        )


def _ask_worker(
    imported: ImportedModel, wanted: Refinement, tolerance: Tolerance, limits: Mapping[str, Any], scratch: Path
) -> dict[str, Any]:
    job = {
        "artifact": str(imported.artifact.absolute()),
        "signature": imported.signature.to_dict(),
        "precision": wanted.precision.value if wanted.precision else None,
        "optimize": wanted.optimize,
        "calibrate": not imported.inputs_were_generated,
        "tolerance": asdict(tolerance),
        "release": dict(limits),
    }
    (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
    write_published_sample(scratch / "sample.npz", Sample(inputs=imported.inputs, outputs=imported.reference))
    try:
        done = _run_worker(scratch)
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"'{wanted.words}' took longer than {_SECONDS} s", next_step="leave --precision and --optimize out"
        ) from error
    answered = scratch / "answer.json"
    if done.returncode != 0 or not answered.is_file():
        raise SourceError(
            f"the process that was to do '{wanted.words}' ended with status {done.returncode}",
            cause=done.stderr.strip()[-_LAST_WORDS:],
            next_step="leave --precision and --optimize out",
        )
    answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    if "error" in answer:
        raise error_from_dict(answer["error"])
    return answer


def _run_worker(scratch: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "repo_tool.refinement._worker", str(os.getpid()), str(scratch.absolute())]
    return subprocess.run(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )


def _result(answer: dict[str, Any]) -> RefinementResult:
    parity = answer["parity"]
    return RefinementResult(
        how=tuple(answer["how"]),
        before=Measured(**answer["before"]),
        after=Measured(**answer["after"]),
        parity=Parity(
            batch_sizes=tuple(parity["batch_sizes"]),
            rows=parity["rows"],
            outputs=tuple(OutputParity(**output) for output in parity["outputs"]),
        ),
        agreement=tuple(Agreement(**agreement) for agreement in answer["agreement"]),
    )


def _require(result: RefinementResult, wanted: Refinement, tolerance: Tolerance) -> None:
    different = [output for output in result.parity.outputs if not output.equal]
    if not different:
        return
    worst = different[0]
    raise ParityError(
        f"with {wanted.words} output '{worst.name}' differs too much, most in sample row {worst.worst_row}",
        cause=f"it {worst.words}; allowed is {worst.allowed or tolerance.words}; {result.words}",
        next_step="nothing was published; give more typical rows with --sample, allow more with --tolerance, "
        "or leave it as it is",
    )
