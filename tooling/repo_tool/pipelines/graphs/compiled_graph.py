# SPDX-License-Identifier: Apache-2.0
"""A part that is one graph, as the model directory to be written."""

__all__ = ["compiled_graph"]

from collections.abc import Mapping

from repo_tool.pipelines.compiled import CompiledModel
from repo_tool.pipelines.graphs.merging import graph_model
from repo_tool.pipelines.graphs.settings import directory_files, merged_config, merged_variants
from repo_tool.pipelines.placement import Part
from repo_tool.pipelines.wire import Wire
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelRepository


def compiled_graph(
    part: Part, wires: Mapping[str, Wire], repository: ModelRepository, *, release: Release | None = None
) -> CompiledModel:
    """The part's stages merged, with the settings, variants, labels and warm-up rows of the models among them.

    Raises:
        NotImplementedError: they cannot be one graph, or would lose something by it; with the reason.
        RepositoryError: a model is not there.
    """
    graph = graph_model(part, wires, repository, release=release)
    config = merged_config(part, wires, graph)
    return CompiledModel(
        config=config,
        files=graph.files,
        variants=merged_variants(part, wires, graph, repository),
        directory_files=directory_files(part, config, repository),
        notes=graph.notes,
    )
