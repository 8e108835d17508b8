# SPDX-License-Identifier: Apache-2.0
"""What crosses between the caller and the worker process: plain JSON, and tensors without pickle."""

__all__ = ["read_answer", "read_job", "write_error", "write_imported", "write_job"]

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.errors import RepoToolError, error_from_dict
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Sample, read_published_sample, write_published_sample
from repo_tool.signature import ModelSignature

_JOB, _ANSWER, _TENSORS = "job.json", "answer.json", "tensors.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the worker is to do."""

    importer: str  # package.module:Class
    request: ImportRequest
    destination: Path  # an empty folder for the artifact


def write_job(folder: Path, job: Job) -> None:
    """Leave ``job`` in ``folder`` for the worker."""
    (folder / _JOB).write_text(json.dumps(asdict(job), default=str), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """The job that ``write_job`` left."""
    values = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    request = values["request"]
    paths = {name: Path(request[name]) if request[name] else None for name in ("weights", "sample")}
    return Job(
        importer=values["importer"],
        request=ImportRequest(**{**request, **paths, "trusted_types": tuple(request["trusted_types"])}),
        destination=Path(values["destination"]),
    )


def write_imported(folder: Path, imported: ImportedModel) -> None:
    """Leave the worker's success in ``folder``."""
    write_published_sample(folder / _TENSORS, Sample(inputs=imported.inputs, outputs=imported.reference))
    values = {
        "framework": imported.framework,
        "backend": imported.backend,
        "signature": imported.signature.to_dict(),
        "artifact": str(imported.artifact),
        "inputs_were_generated": imported.inputs_were_generated,
        "labels": imported.labels,
        "tool_versions": dict(imported.tool_versions),
        "notes": imported.notes,
        "fallback_reason": imported.fallback_reason,
        "parameters": dict(imported.parameters),
        "trusted": imported.trusted,
        "computes_in": imported.computes_in.wire_name if imported.computes_in else None,
        "own_backend": imported.own_backend,
        "unproven": imported.unproven,
    }
    _write_answer(folder, {"imported": values})


def write_error(folder: Path, error: RepoToolError) -> None:
    """Leave the worker's refusal in ``folder``."""
    _write_answer(folder, {"error": error.to_dict()})


def _write_answer(folder: Path, values: dict[str, Any]) -> None:
    partial = folder / f"{_ANSWER}.partial"
    partial.write_text(json.dumps(values), encoding="utf-8")
    partial.rename(folder / _ANSWER)  # a worker that dies while writing has not answered


def read_answer(folder: Path) -> ImportedModel | RepoToolError | None:
    """What the worker left in ``folder``; None when it died before it could answer."""
    path = folder / _ANSWER
    if not path.is_file():
        return None
    # Code in a source may have written the answer.
    with refusing("the process that loaded the model left no answer that reads", next_step="do not load that file"):
        return _read_answer(json.loads(path.read_text(encoding="utf-8")), folder)


def _read_answer(values: dict[str, Any], folder: Path) -> ImportedModel | RepoToolError:
    if "error" in values:
        return error_from_dict(values["error"])
    values = values["imported"]
    tensors = read_published_sample(folder / _TENSORS)
    lists = {name: tuple(values[name]) for name in ("labels", "notes", "trusted")}
    parsed: dict[str, Any] = {
        "signature": ModelSignature.from_dict(values["signature"]),
        "artifact": Path(values["artifact"]),
    }
    parsed["computes_in"] = DataType.from_wire(values["computes_in"]) if values["computes_in"] else None
    return ImportedModel(**{**values, **lists, **parsed}, inputs=tensors.inputs, reference=tensors.outputs)
