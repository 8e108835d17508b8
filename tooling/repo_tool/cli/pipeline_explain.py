# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline explain``."""

__all__ = ["explain"]

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.cli.pipeline_arguments import JsonOption, RepositoryOption, SourceArgument

if TYPE_CHECKING:
    from repo_tool.pipelines.explain import ExplainedPart, Explanation, Hop

_MEASURED = (
    "measured on two cores with models that are Python processes, as in the embedded server; "
    "a GPU server's C++ backends cost less"
)


def explain(
    pipeline: SourceArgument,
    repository: RepositoryOption = Path("model_repository"),
    as_json: JsonOption = False,
) -> None:
    """Say what a pipeline becomes: its Triton models, why each runs where it does, and what the hops cost.

    A hop is what travels from one model to the next: its wires, the bytes of one row, and the time that it adds to a
    request of one row.

    **Example:**

        repo-tool pipeline explain pipeline.yaml
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.explain_pipeline import explain_pipeline

    explanation = explain_pipeline(pipeline, ModelRepository(repository))
    if as_json:
        import json

        print(json.dumps(explanation.to_dict(), indent=2))
        return
    _show(explanation)


def _show(explanation: "Explanation") -> None:
    count = len(explanation.parts)
    models = "an ensemble of " if explanation.is_ensemble else ""
    size = f"max_batch_size {explanation.max_batch_size}" if explanation.max_batch_size else "never batched"
    _line(f"{models}{count} model{'' if count == 1 else 's'}, {size}", head=explanation.pipeline, indent=0)
    for part in explanation.parts:
        _line("", indent=0)
        for hop in explanation.hops:
            if hop.target == part.name and not hop.is_call:
                _show_hop(hop, f"from {hop.source}")
        _show_part(part)
        for hop in explanation.hops:
            if hop.source == part.name and hop.is_call:
                _line(_hop_words(hop), head=f"calls {hop.target}", indent=6)
    _line("", indent=0)
    for hop in explanation.hops:
        if hop.target == "client":
            _show_hop(hop, f"client, from {hop.source}")
    _line("", indent=0)
    _line(_cost_words(explanation), indent=0)


def _show_hop(hop: "Hop", head: str) -> None:
    _line(_hop_words(hop), head=f"↓ {head}", indent=2, style="cyan")


def _hop_words(hop: "Hop") -> str:
    wires = ", ".join(f"{name} {wire}" for name, wire in hop.wires.items())
    size = "rows differ in size" if hop.bytes_a_row is None else f"{_bytes_words(hop.bytes_a_row)} a row"
    cost = "" if not hop.cost_us else f"; about {_time_words(hop.cost_us)}"
    return f"{wires}; {size}{cost}"


def _show_part(part: "ExplainedPart") -> None:
    instances = f", {part.instances} instance{'' if part.instances == 1 else 's'}" if part.instances else ""
    version = f", version {part.version}" if part.version else ""
    _line(f"{part.runs_in}{version}{instances}", head=part.name, indent=4, style="bold")
    if part.stages:
        _line(" → ".join(part.stages), head="does", indent=6)
    _line(part.reason, head="because", indent=6)
    if part.packages:
        _line(", ".join(part.packages), head="imports", indent=6)


def _cost_words(explanation: "Explanation") -> str:
    if not explanation.cost_us:
        return "No hops: a request costs what its model costs."
    return f"The hops add about {_time_words(explanation.cost_us)} to a request of one row ({_MEASURED})."


def _bytes_words(count: int) -> str:
    return f"{count} bytes" if count < 10_000 else f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _time_words(microseconds: int) -> str:
    return f"{microseconds} µs" if microseconds < 1000 else f"{microseconds / 1000:.1f} ms"


def _line(words: str, *, head: str = "", indent: int, style: str = "dim") -> None:
    """One line that wraps below itself, ``head`` in front of it."""
    from rich.text import Text

    from repo_tool.cli.console import console
    from repo_tool.printable import printable

    whole = printable(": ".join(filter(None, (head, words))))
    space = " " * indent
    lines = textwrap.wrap(whole, console().width, initial_indent=space, subsequent_indent=f"{space}  ")
    text = Text("\n".join(lines))
    if head:
        text.stylize(style, indent, indent + len(printable(head)))
    console().print(text, soft_wrap=True)
