# SPDX-License-Identifier: Apache-2.0
"""The table of what a client must send and will get, with how far each output is from its reference."""

__all__ = ["show_tensors"]

from repo_tool.cli.console import console
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.verification import Parity


def show_tensors(config: ModelConfig, version: int, parity: Parity | None) -> None:
    """Print the table; without ``parity`` nothing is known of the differences."""
    from rich.table import Table

    table = Table(title=f"{config.name}, version {version}", title_justify="left", title_style="bold")
    for heading in ("", "tensor", "datatype", "shape", "largest difference"):
        table.add_column(heading)
    for tensor in config.inputs:
        table.add_row("send", *_cells(config, tensor), "")
    differences = {output.name: f"{output.largest_absolute:.2g}" for output in parity.outputs} if parity else {}
    for tensor in config.outputs:
        table.add_row("get", *_cells(config, tensor), differences.get(tensor.name, "not proven"))
    console().print(table)


def _cells(config: ModelConfig, tensor: ModelTensor) -> tuple[str, str, str]:
    from rich.markup import escape

    batch = [f"1…{config.max_batch_size}"] if config.max_batch_size > 0 else []
    shape = ", ".join([*batch, *("any" if size == -1 else str(size) for size in tensor.dims)])
    return escape(tensor.name), tensor.datatype.wire_name if tensor.datatype else "?", f"\\[{shape}]"
