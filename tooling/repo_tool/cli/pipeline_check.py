# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline check``."""

__all__ = ["check"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.cli.pipeline_arguments import JsonOption, RepositoryOption, SourceArgument

if TYPE_CHECKING:
    from repo_tool.pipelines.stages import Stage
    from repo_tool.pipelines.wire import Wire
    from repo_tool.workflows.check_pipeline import CheckedPipeline


def check(
    pipeline: SourceArgument,
    repository: RepositoryOption = Path("model_repository"),
    as_json: JsonOption = False,
) -> None:
    """Type every wire of a pipeline against the repository's models; nothing is written.

    It shows each step with what it reads and writes. What cannot work is told with the step, the tensor, both types
    and a drawing of the spot.

    **Example:**

        repo-tool pipeline check pipeline.yaml
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.check_pipeline import check_pipeline

    checked = check_pipeline(pipeline, ModelRepository(repository))
    if as_json:
        import json

        print(json.dumps(checked.to_dict(), indent=2))
        return
    _show(checked)


def _show(checked: "CheckedPipeline") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from repo_tool.cli.console import console
    from repo_tool.printable import printable

    typed = checked.typed
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("step", "reads", "writes", "type of a row"):
        table.add_column(heading, overflow="fold")
    for name in typed.inputs:
        table.add_row("[dim]client[/]", "", _escaped(name), _escaped(str(typed.wires[name])))
    for step, reads, writes, types in _rows(typed.stages, typed.wires, depth=0):
        table.add_row(_escaped(step), _escaped(reads), _escaped(writes), _escaped(types))
    table.add_row("[dim]client[/]", _escaped("\n".join(typed.outputs)), "", "")
    out = console()
    out.print(table)
    size = f"max_batch_size {typed.max_batch_size}" if typed.max_batch_size else "one request is one batch"
    out.print(f"[green]✓[/] {_escaped(printable(checked.pipeline.name))} can work: every wire fits; {size}")


def _escaped(text: str) -> str:
    from rich.markup import escape

    from repo_tool.printable import printable_lines

    return escape(printable_lines(text))


def _rows(stages: "Sequence[Stage]", wires: "Mapping[str, Wire]", *, depth: int) -> Iterator[tuple[str, str, str, str]]:
    """Of each stage its title, what it reads, what it writes, and the types of that; blocks before their stages."""
    from repo_tool.pipelines.stages import BlockStage

    for stage in stages:
        written = list(stage.outputs.values())
        title = "  " * depth + _title(stage)
        reads = "\n".join(dict.fromkeys(stage.inputs.values()))
        yield title, reads, "\n".join(written), "\n".join(str(wires[name]) for name in written)
        if isinstance(stage, BlockStage):
            yield from _rows(stage.stages, stage.wires, depth=depth + 1)


def _title(stage: "Stage") -> str:
    from repo_tool.pipelines.stages import BlockStage, ModelStage

    if isinstance(stage, BlockStage):
        return stage.kind if stage.name in {"", stage.kind} else f"{stage.kind} {stage.name}"
    what = f"{stage.config.name} v{stage.version}" if isinstance(stage, ModelStage) else stage.step.name
    known = {"", what, stage.config.name if isinstance(stage, ModelStage) else what}
    return what if stage.name in known else f"{stage.name}: {what}"
