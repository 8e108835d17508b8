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
    the largest difference of each output to the framework on the sample.

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

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    for name, value in _lines(record):
        facts.add_row(name, value)
    out = console()
    title = f"{record.directory.name}, version {record.version}"
    out.print(title, style="bold", markup=False)
    out.print(facts, markup=False)
    if record.facts.get("parity", {}).get("outputs"):
        out.print(_outputs(record.facts))


def _lines(record: "ModelRecord") -> list[tuple[str, str]]:
    """Names and values of what is known, in the order in which a person asks."""
    facts = record.facts
    sample, tolerance = facts.get("sample") or {}, facts.get("tolerance") or {}
    backend, reason = facts.get("backend") or "", facts.get("fallback_reason")
    lines = [
        ("versions", ", ".join(map(str, record.versions))),
        ("source", " ".join(filter(None, (str(facts.get("source") or ""), _short(facts.get("source_digest")))))),
        ("weights", _short(facts.get("weights_digest"))),
        ("framework", str(facts.get("framework") or "")),
        ("tools", ", ".join(f"{name} {release}" for name, release in (facts.get("tools") or {}).items())),
        ("served by", f"{backend} backend" + (f"; {reason}" if reason else "") if backend else ""),
        ("refined", "; ".join((facts.get("refinement") or {}).get("how", ()))),
        ("trusted", ", ".join(facts.get("trusted") or ()) or "nothing on a person's word"),
        ("release", f"Triton {facts['release']}" if facts.get("release") else ""),
        ("sample", _sample_words(sample)),
        ("tolerance", ", ".join(f"{name} {value:g}" for name, value in tolerance.items() if value)),
        ("files", _files_words(record)),
    ]
    return [(name, value) for name, value in lines if value]


def _short(digest: str | None) -> str:
    return digest[: len("sha256:") + 16] if digest else ""


def _sample_words(sample: dict[str, Any]) -> str:
    parts = [str(sample.get("origin") or ""), f"{sample['rows']} rows" if "rows" in sample else ""]
    return ", ".join(filter(None, (*parts, _short(sample.get("digest")))))


def _files_words(record: "ModelRecord") -> str:
    complaints = record.file_complaints()
    recorded = len(record.facts.get("files") or {})
    if complaints:
        return "; ".join(complaints)
    return f"{recorded} as published" if recorded else ""


def _outputs(facts: dict[str, Any]) -> "Table":
    from rich.table import Table

    parity = facts["parity"]
    datatypes = {
        tensor["name"]: f"{tensor['datatype']} {tensor['shape']}"
        for tensor in (facts.get("signature") or {}).get("outputs", ())
    }
    table = Table(title="compared with the framework", title_justify="left")
    for heading in ("output", "type", "largest absolute", "largest relative", "in row"):
        table.add_column(heading)
    for output in parity["outputs"]:
        table.add_row(
            output["name"],
            datatypes.get(output["name"], "").replace("[", "\\["),
            f"{output['largest_absolute']:.2g}",
            f"{output['largest_relative']:.2g}",
            str(output["worst_row"]),
        )
    return table
