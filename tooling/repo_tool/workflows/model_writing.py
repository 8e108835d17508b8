# SPDX-License-Identifier: Apache-2.0
"""A model that was brought in, written as a model directory: configuration, warm-up, labels, variants, sample."""

__all__ = ["WrittenModel", "read_labels", "write_model"]

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.config.derive import LABEL_FILENAME, DeriveOptions, derive, reasons_for
from repo_tool.config.model import ModelConfig
from repo_tool.errors import SampleError
from repo_tool.importers.base import ImportedModel
from repo_tool.repository.layout import ModelDirectory
from repo_tool.samples import Sample, write_published_sample
from repo_tool.workflows.add_model_values import AddModelRequest
from repo_tool.workflows.config_overrides import overridden
from repo_tool.workflows.kept_versions import KeptVersions, version_policy_with
from repo_tool.workflows.proof import published_rows, sample_bytes, write_warmup


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenModel:
    """A model as it lies in the staging repository."""

    directory: ModelDirectory
    version: int
    config: ModelConfig
    text: str  # of config.pbtxt
    derived_text: str  # the same before what the request sets over it
    reasons: Mapping[str, str]  # why what was derived is so, by field
    sample: Sample


def write_model(
    request: AddModelRequest,
    imported: ImportedModel,
    directory: ModelDirectory,
    *,
    version: int,
    labels: tuple[str, ...],
    kept: KeptVersions,
) -> WrittenModel:
    """Write all of the model's directory but the artifact, the variants and the versions that are kept."""
    sample = Sample(inputs=imported.inputs, outputs=imported.reference)
    options = _options(request, imported, sample, labels)
    config = derive(imported.signature, options)
    reasons = reasons_for(config, imported.signature, options)
    if kept:
        config = replace(config, version_policy=version_policy_with(kept, version))
        reasons["version_policy"] = kept.reason
    derived_text = pbtxt.render(config, verified=not imported.unproven, reasons=reasons)
    text = overridden(derived_text, request.config)
    written = WrittenModel(
        directory=directory,
        version=version,
        config=pbtxt.parse(text) if request.config else config,
        text=text,
        derived_text=derived_text,
        reasons=reasons,
        sample=sample,
    )
    _write_files(written, labels or imported.labels)
    return written


def _write_files(written: WrittenModel, labels: Sequence[str]) -> None:
    directory, config = written.directory, written.config
    directory.version_path(written.version).mkdir(parents=True)
    directory.config_path.write_text(written.text, encoding="utf-8")
    write_warmup(directory, config, written.sample.inputs)
    if any(tensor.label_filename for tensor in config.outputs):
        (directory.path / LABEL_FILENAME).write_text("\n".join(labels) + "\n", encoding="utf-8")
    write_published_sample(directory.sample_path(written.version), published_rows(written.sample, config))


def _options(
    request: AddModelRequest, imported: ImportedModel, sample: Sample, labels: tuple[str, ...]
) -> DeriveOptions:
    batching = imported.signature.can_batch and request.max_batch_size != 0
    return DeriveOptions(
        name=request.name,
        backend=imported.backend,
        cores=request.cores or os.cpu_count() or 1,
        instances=request.instances,
        max_batch_size=request.max_batch_size,
        labels=labels or imported.labels,
        labels_are_required=bool(labels),
        backend_parameters=imported.parameters,
        warmup_shapes={name: array.shape[1:] if batching else array.shape for name, array in sample.inputs.items()},
        row_bytes=sample_bytes(sample) // (max(sample.rows, 1) if batching else 1),
        weights_bytes=sum(entry.stat().st_size for entry in imported.artifact.parent.rglob("*") if entry.is_file()),
    )


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The labels in a text file, one a line; none without a file.

    Raises:
        SampleError: it cannot be read, or holds none.
    """
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(
            f"the labels at '{path}' cannot be read", cause=str(error), next_step="give a text file, one label a line"
        ) from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise SampleError(f"'{path}' holds no label", next_step="give a text file, one label a line")
    return labels
