# SPDX-License-Identifier: Apache-2.0
"""``configs/cpu.pbtxt`` and ``configs/gpu.pbtxt`` of a model that is added: written, and proven as far as can be."""

__all__ = ["prove_on_cpu", "require_release_with_variants", "variants_are_due", "write_variants"]

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.variants import CPU, VARIANTS, GraphFacts, variants
from repo_tool.errors import ReleaseError, needs_extra
from repo_tool.refinement.precision import Precision
from repo_tool.releases import Release, first_release_with_variants
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digest_of
from repo_tool.samples import Sample
from repo_tool.verification import Parity, Tolerance, verify
from repo_tool.workflows.proof import EarlyServer, triton_inference

_STANDARD_DOMAINS = ("", "ai.onnx")
_BRANCHES = ("If", "Loop", "Scan")


def variants_are_due(published: ModelDirectory, *, asked: bool) -> bool:
    """Whether to write variants: asked for, or there already, where old ones would hold for another model."""
    return asked or any(published.variant_path(name).is_file() for name in VARIANTS)


def require_release_with_variants(release: Release) -> None:
    """Refuse to write what the release never reads.

    Raises:
        ReleaseError: it knows no ``--model-config-name``.
    """
    first = first_release_with_variants()
    if release.name < first:
        raise ReleaseError(
            f"{release} does not read configs/",
            cause=f"--model-config-name came with {first}",
            next_step=f"leave --variants out, or serve with {first} or newer",
        )


def write_variants(
    directory: ModelDirectory,
    config: ModelConfig,
    artifact: Path,
    *,
    precision: Precision | None,
    release: Release,
    reasons: Mapping[str, str],
    is_proven: bool,
) -> None:
    """Write both; ``artifact`` is where the model's file lies now, ``is_proven`` whether the CPU's will be."""
    facts = _graph_facts(artifact, precision)
    directory.variants_path.mkdir()
    for variant in variants(config, facts, release, reasons):
        text = pbtxt.render(
            variant.config,
            verified=is_proven and variant.name == CPU,
            reasons=variant.reasons,
            variant=variant.name,
        )
        directory.variant_path(variant.name).write_text(text, encoding="utf-8")


def prove_on_cpu(
    repository: ModelRepository, config: ModelConfig, sample: Sample, *, release: Release, tolerance: Tolerance
) -> Parity:
    """How far the answers of ``configs/cpu.pbtxt`` are from the framework's, on a server that reads it.

    Raises:
        LoadRefusedError: Triton does not load it.
    """
    with EarlyServer(repository.path, release, model_config_name=CPU) as server:
        server.load(config.name)
        with triton_inference(server.grpc_url, config.name) as infer:
            return verify(infer, config, sample, tolerance=tolerance)


def _graph_facts(artifact: Path, precision: Precision | None) -> GraphFacts:
    digest = digest_of(artifact.parent).removeprefix("sha256:")
    words = precision.value.upper() if precision else "FP32"
    if artifact.suffix != ".onnx":
        return GraphFacts(digest=digest, precision=words)
    operators = set(_operators(artifact))
    return GraphFacts(
        digest=digest,
        is_standard=all(domain in _STANDARD_DOMAINS for domain, _ in operators),
        branches=any(operator in _BRANCHES for _, operator in operators),
        precision=words,
    )


def _operators(artifact: Path) -> Iterator[tuple[str, str]]:
    """Domain and name of every operator, those inside of branches and functions too."""
    with needs_extra("onnx"):
        import onnx
    model = onnx.load(artifact, load_external_data=False)
    yield from _operators_of(model.graph.node)
    for function in model.functions:
        yield from _operators_of(function.node)


def _operators_of(nodes: Any) -> Iterator[tuple[str, str]]:
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _operators_of(graph.node)
