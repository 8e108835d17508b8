# SPDX-License-Identifier: Apache-2.0
"""How many rows a pipeline takes at once."""

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "batching"]

from collections.abc import Iterable, Iterator
from typing import TypedDict

from repo_tool.errors import PipelineError
from repo_tool.pipelines.scope import Scope
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, TypedPipeline, flat

DEFAULT_MAX_BATCH_SIZE = 32


class Batching(TypedDict):
    """Those fields of a `TypedPipeline`."""

    max_batch_size: int
    rows: int | None


def batching(scope: Scope, typed: TypedPipeline) -> Batching:
    """The smallest of its models, or what the file says if none takes less.

    A model that does not batch takes its rows as the first dimension; then so does the pipeline, and Triton joins no
    requests.

    Raises:
        PipelineError: a model takes less than the file says, or two take different numbers of rows.
    """
    asked = scope.pipeline.max_batch_size
    sizes = {stage.config.name: stage.config.max_batch_size for stage in _models(typed.stages)}
    unbatched = [name for name, size in sizes.items() if size == 0]
    if unbatched and asked:
        raise PipelineError(
            f"max_batch_size {asked} is more than model '{unbatched[0]}' takes",
            cause="it does not batch: its max_batch_size is 0, and its rows are its first dimension",
            next_step="write max_batch_size: 0 or leave it out, or add the model again with a free first dimension",
        )
    if unbatched or asked == 0:
        return Batching(max_batch_size=0, rows=_rows(typed))
    smallest = min(sizes.values(), default=asked or DEFAULT_MAX_BATCH_SIZE)
    if asked is None or asked <= smallest:
        return Batching(max_batch_size=asked or smallest, rows=None)
    name = min(sizes, key=lambda member: sizes[member])
    raise PipelineError(
        f"max_batch_size {asked} is more than model '{name}' takes",
        cause=f"its own max_batch_size is {smallest}, and an ensemble may not exceed its members",
        next_step=f"write at most {smallest}, or leave it out",
    )


def _models(stages: Iterable[Stage]) -> Iterator[ModelStage]:
    yield from (stage for stage in flat(stages) if isinstance(stage, ModelStage))


def _rows(typed: TypedPipeline) -> int:
    """The number of rows that all models take; -1 where they take any."""
    found: dict[int, str] = {}
    for stage in _models(typed.stages):
        for tensor in (*stage.config.inputs, *stage.config.outputs) if stage.config.max_batch_size == 0 else ():
            if tensor.dims[0] != -1:
                found.setdefault(tensor.dims[0], f"'{tensor.name}' of model '{stage.config.name}'")
    if len(found) > 1:
        (rows, first), (other, second), *_ = found.items()
        raise PipelineError(
            f"{first} has {rows} row{'s' * (rows != 1)} and {second} has {other}",
            cause="neither model batches, and the rows of a request go through both",
            next_step="add one of them again with a free first dimension",
        )
    rows = next(iter(found), -1)
    _check_inside(typed, rows)
    _check_batches(typed, rows)
    return rows


def _check_inside(typed: TypedPipeline, rows: int) -> None:
    """Blocks choose rows, so that a model inside sees other numbers of them."""
    for block in (stage for stage in typed.stages if isinstance(stage, BlockStage)):
        for model in _models(block.stages):
            if rows != -1 and model.config.max_batch_size == 0:
                raise PipelineError(
                    f"model '{model.config.name}' takes {rows} row{'s' * (rows != 1)} at a time, inside a block",
                    cause="a block gives its steps as many rows as there are to work on, and the model does not batch",
                    next_step="add the model again with a free first dimension",
                )


def _check_batches(typed: TypedPipeline, rows: int) -> None:
    for model in _models(typed.stages):
        if 0 < model.config.max_batch_size < rows:
            raise PipelineError(
                f"model '{model.config.name}' takes {model.config.max_batch_size} rows at once, and there are {rows}",
                cause=f"another model of the pipeline does not batch and takes exactly {rows}",
                next_step="raise its max_batch_size, or add the other again with a free first dimension",
            )
