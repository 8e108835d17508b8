# SPDX-License-Identifier: Apache-2.0
"""``repo-tool show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.console import complete_model, console

if TYPE_CHECKING:
    from rich.table import Table

    from repo_tool.workflows.show_model import ModelRecord


def show(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    version: Annotated[int | None, typer.Option(min=1, help="Default: the newest.")] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where the model is.")] = Path(
        "model_repository"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show where a published model came from and how it was proven.

    Its source and digest, the versions of framework and converter, how it is served and why, who trusted what, and
    the largest difference of each output to the framework on the sample. What was never proven says so.

    **Example:**

        repo-tool show churn
    """
    from repo_tool.workflows.show_model import read_record

    record = read_record(repository, model, version)
    if as_json:
        import json

        print(json.dumps(record.to_dict(), indent=2))
        return
    _show(record)


def _show(record: "ModelRecord") -> None:
    from rich.table import Table

    from repo_tool.printable import printable

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    complaints = record.file_complaints()
    for name, value in [*_lines(record), ("files", _files_words(record.facts, len(complaints)))]:
        facts.add_row(name, printable(value))
    out = console()
    served = record.served
    unserved = f" (not served; served: {_numbers(served)})" if served and record.version not in served else ""
    out.print(f"{record.directory.name}, version {record.version}{unserved}", style="bold", markup=False)
    if record.unproven:
        words = f"NOT PROVEN: {printable(record.unproven)}"
        out.print(words, style="bold red", markup=False, soft_wrap=True)
        out.print(f"next: repo-tool verify {record.directory.name} --server URL", style="bold", markup=False)
    out.print(facts, markup=False)
    for complaint in complaints:
        out.print(f"file {printable(complaint)}", style="red", markup=False, soft_wrap=True)
    if record.facts.get("signature") or record.facts.get("parity"):
        out.print(_tensors(record.facts))


def _lines(record: "ModelRecord") -> list[tuple[str, str]]:
    """Names and values of what is known, in the order in which a person asks."""
    facts = record.facts
    backend, reason = facts.get("backend") or "", facts.get("fallback_reason")
    lines = [
        ("versions", _numbers(record.versions)),
        ("served", _numbers(record.served)),
        ("part of", f"pipeline {record.pipeline}" if record.pipeline else ""),
        ("source", _words(facts.get("source"), facts.get("source_digest"))),
        ("weights", _words(facts.get("weights_digest"))),
        ("members", _member_words(facts)),
        ("framework", _words(facts.get("framework"))),
        ("tools", ", ".join(f"{name} {release}" for name, release in _tools(facts))),
        ("served by", f"{backend} backend" + (f"; {reason}" if reason else "") if backend else ""),
        ("refined", "; ".join(map(str, (facts.get("refinement") or {}).get("how") or ()))),
        ("trusted", _trust_words(facts)),
        ("release", f"Triton {facts['release']}" if facts.get("release") else ""),
        ("sample", _sample_words(facts)),
        ("tolerance", ", ".join(f"{name} {value}" for name, value in (facts.get("tolerance") or {}).items() if value)),
        ("compared", _comparison_words(facts)),
        ("blocks", _block_words(facts)),
        ("reference", _reference_words(facts)),
    ]
    return [(name, value) for name, value in lines if value]


def _numbers(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions))


def _words(*values: object) -> str:
    return " ".join(str(value) for value in values if value)


def _member_words(facts: dict[str, Any]) -> str:
    versions = facts.get("member_versions") or {}
    members = map(str, facts.get("members") or ())
    return ", ".join(f"{name} version {versions[name]}" if name in versions else name for name in members)


def _block_words(facts: dict[str, Any]) -> str:
    """By which ways the rows of the sample went."""
    blocks: dict[str, dict[str, int]] = facts.get("blocks") or {}
    return ", ".join(f"{each['entered']} of {each['rows']} rows entered '{name}'" for name, each in blocks.items())


def _reference_words(facts: dict[str, Any]) -> str:
    """The training code that a pipeline was compared with."""
    reference = facts.get("reference") or {}
    if not reference:
        return ""
    wires = ", ".join(str(wire.get("wire")) for wire in reference.get("wires") or ())
    return _words(f"{reference.get('source')}, {reference.get('rows')} rows of {wires}", reference.get("digest"))


def _tools(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The versions that were at work, our own last."""
    own = {"repo-tool": facts["repo_tool"]} if facts.get("repo_tool") else {}
    return list(((facts.get("tools") or {}) | own).items())


def _trust_words(facts: dict[str, Any]) -> str:
    by = f" (by {facts['trusted_by']})" if facts.get("trusted_by") else ""
    trusted = "; ".join(map(str, facts.get("trusted") or ()))
    return f"{trusted}{by}" if trusted else "nothing on a person's word"


def _sample_words(facts: dict[str, Any]) -> str:
    """The rows that it was proven with: their file, or those published where they were generated."""
    sample, published = facts.get("sample") or {}, (facts.get("files") or {}).get("sample.npz")
    rows = sample.get("rows")
    counted = f"{rows} row{'' if rows == 1 else 's'}" if rows is not None else ""
    return ", ".join(filter(None, (_words(sample.get("origin")), counted, sample.get("digest") or published)))


def _comparison_words(facts: dict[str, Any]) -> str:
    parity = facts.get("parity") or {}
    sizes = ", ".join(map(str, parity.get("batch_sizes") or ()))
    if not parity:
        return ""
    return f"{parity.get('rows')} rows on Triton in batches of {sizes}" if sizes else "one request to Triton"


def _files_words(facts: dict[str, Any], differing: int) -> str:
    if differing:
        return f"{differing} not as published"
    recorded = len(facts.get("files") or {})
    return f"{recorded} as published" if recorded else "no digests were recorded"


def _tensors(facts: dict[str, Any]) -> "Table":
    """What it takes and gives, as the framework has it, with each output's largest difference."""
    from rich.table import Table

    signature = facts.get("signature") or {}
    differences = {output["name"]: output for output in (facts.get("parity") or {}).get("outputs") or ()}
    outputs = signature.get("outputs") or [{"name": name} for name in differences]
    reference = "the framework" if facts.get("members") is None else "its steps run one by one"
    table = Table(title=f"compared with {reference}", title_justify="left")
    for heading in ("", "tensor", "type", "largest absolute", "largest relative", "in row"):
        table.add_column(heading)
    for tensor in signature.get("inputs") or ():
        table.add_row("takes", *_cells(tensor))
    for tensor in outputs:
        table.add_row("gives", *_cells(tensor), *_difference_cells(differences.get(tensor["name"])))
    return table


def _cells(tensor: dict[str, Any]) -> tuple[str, str]:
    from rich.markup import escape

    from repo_tool.printable import printable

    datatype = _words(tensor.get("datatype"), tensor.get("shape"))
    return escape(printable(str(tensor["name"]))), escape(printable(datatype))


def _difference_cells(output: dict[str, Any] | None) -> tuple[str, str, str]:
    if output is None:
        return "not proven", "", ""
    ties = f" ({output['ties']} ties)" if output.get("ties") else ""
    absolute, relative = output["largest_absolute"], output["largest_relative"]
    return f"{absolute:.2g}{ties}", f"{relative:.2g}", str(output["worst_row"])
