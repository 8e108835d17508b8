# SPDX-License-Identifier: Apache-2.0
"""How many rows of a pipeline one request may carry."""

__all__ = ["rows_a_request"]

from repo_tool.pipelines.compiled import CompiledPipeline


def rows_a_request(rows: int, *asked: CompiledPipeline) -> int:
    """As many as they take; one where what leaves a model may differ in shape from row to row.

    Args:
        rows: how many there are.
        asked: the pipelines that get each request, which take as many rows at once as one another.
    """
    size = asked[0].typed.max_batch_size
    if size == 0:
        return rows
    crossing = (compiled.wires[wire].dims for compiled in asked for part in compiled.parts for wire in part.writes)
    return 1 if any(-1 in dims for dims in crossing) else size
