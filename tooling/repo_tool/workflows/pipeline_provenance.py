# SPDX-License-Identifier: Apache-2.0
"""Where a pipeline came from and how it was proven, written beside each of its models."""

__all__ = ["Proof", "write_proof"]

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import repo_tool
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digest_of, digests_of, write_provenance
from repo_tool.samples import Sample, write_published_sample
from repo_tool.verification import Parity
from repo_tool.workflows.add_pipeline_values import AddPipelineRequest
from repo_tool.workflows.config_overrides import interface_digest
from repo_tool.workflows.pipeline_tools import tools_of
from repo_tool.workflows.proof import published_rows
from repo_tool.workflows.skew import SkewReport
from repo_tool.workflows.step_by_step import BlockVisits


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found out before a pipeline is published."""

    request: AddPipelineRequest
    pipeline: PipelineFile
    compiled: CompiledPipeline
    parity: Parity
    skew: SkewReport | None
    blocks: Mapping[str, BlockVisits]
    sample: Sample  # with the answers of the steps run one by one


def write_proof(proof: Proof, stage: ModelRepository, repository: ModelRepository, version: int) -> None:
    """Write the provenance of all its models, and the sample of its own."""
    own = proof.compiled.own.config
    directory = stage.model(own.name)
    write_published_sample(directory.sample_path(version), published_rows(proof.sample, own))
    facts = _facts(proof, repository)
    _write(directory, version, facts)
    origin = {name: facts[name] for name in ("by", "owner", "source", "source_digest", "release")}
    for model in proof.compiled.models:
        _write(stage.model(model.config.name), version, origin | {"pipeline": own.name})


def _facts(proof: Proof, repository: ModelRepository) -> dict[str, Any]:
    """What the provenance of the pipeline's own model says beyond its files."""
    request, compiled = proof.request, proof.compiled
    members = {name: repository.model(name) for name in compiled.member_names}
    return {
        "by": request.by,
        "owner": request.owner,
        "source": request.file.name,
        "source_digest": digest_of(request.source),
        "pipeline_digest": proof.pipeline.digest,
        "generated": [model.config.name for model in compiled.models],
        "members": list(compiled.member_names),
        "member_versions": dict(compiled.member_versions),
        "member_interfaces": {name: interface_digest(model.read_config()) for name, model in members.items()},
        "release": request.release,
        "tools": tools_of(compiled),
        "signature": _signature(compiled.own.config),
        "sample": {"origin": request.sample.name, "digest": digest_of(request.sample), "rows": proof.sample.rows},
        "tolerance": asdict(request.tolerance),
        "verified": True,
        "parity": proof.parity.to_dict(),
        "blocks": {name: asdict(visits) for name, visits in proof.blocks.items()},
        "reference": proof.skew.to_dict() if proof.skew else None,
    }


def _write(directory: ModelDirectory, version: int, facts: Mapping[str, Any]) -> None:
    own = {
        "repo_tool": repo_tool.__version__,
        "model": directory.name,
        "backend": directory.read_config().backend,
        "config": directory.config_path.read_text(encoding="utf-8"),
        "configs": {name: directory.variant_path(name).read_text(encoding="utf-8") for name in directory.variants()},
    }
    files = digests_of(directory.version_path(version))
    write_provenance(directory.provenance_path(version), own | {**facts, "files": files})


def _signature(config: ModelConfig) -> dict[str, Any]:
    return {"inputs": _specs(config, config.inputs), "outputs": _specs(config, config.outputs)}


def _specs(config: ModelConfig, tensors: Sequence[ModelTensor]) -> list[dict[str, Any]]:
    lead = [-1] if config.max_batch_size > 0 else []
    return [
        {"name": each.name, "datatype": each.datatype and each.datatype.wire_name, "shape": [*lead, *each.dims]}
        for each in tensors
    ]
