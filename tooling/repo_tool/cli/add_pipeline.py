# SPDX-License-Identifier: Apache-2.0
"""``repo-tool add-pipeline``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repo_tool.cli.console import ConsoleProgress, console

if TYPE_CHECKING:
    from repo_tool.workflows.add_pipeline import AddedPipeline
    from repo_tool.workflows.skew import SkewReport


def add_pipeline(
    file: Annotated[Path, typer.Argument(help="The pipeline file: what happens before and after a model.")],
    sample: Annotated[
        Path,
        typer.Option(
            "--sample",
            "-s",
            help="Rows to verify with: a folder of files (pictures, sounds, texts), one of them, json, jsonl, txt, csv,"
            " npz, npy or parquet.",
        ),
    ],
    repository: Annotated[Path, typer.Option("--repository", "-r", help="The model repository.")] = Path(
        "model_repository"
    ),
    release: Annotated[
        str | None, typer.Option(help="The Triton release it must load on, e.g. 26.07. Default: docker-compose's.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Allowed difference to the steps run alone: absolute, and relative.")
    ] = 1e-4,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The preprocessing of the training code, file.py:function or package.module:function: called with each"
            " row, by the names of the pipeline's inputs. It gives the model's input, or a dict of wires.",
        ),
    ] = None,
    tolerate: Annotated[
        list[str] | None,
        typer.Option(metavar="WIRE=NUMBER", help="Allowed difference of one wire to the reference. May be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but publish.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Compile a pipeline file to a Triton ensemble, prove it on a real server, and publish it.

    Arithmetic steps become one ONNX graph with their model, neighbouring other steps one Python-backend model. Before
    anything appears in the repository, the answers to the sample are compared with the steps run one by one, and with
    --reference every tensor that the training code tells with the one that is served.

    **Example:**

        repo-tool add-pipeline pipeline.yaml --sample pictures/ --reference train.py:preprocess
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.releases import DEFAULT_RELEASE
    from repo_tool.verification import Tolerance
    from repo_tool.workflows.add_pipeline import AddPipelineRequest
    from repo_tool.workflows.add_pipeline import add_pipeline as run

    if tolerate and not reference:
        raise UserMistakeError(
            "--tolerate says how far from a reference a wire may be, and there is none",
            next_step="name the training code's own with --reference file.py:function",
        )
    added = run(
        AddPipelineRequest(
            file=file,
            sample=sample,
            repository=repository,
            release=release or DEFAULT_RELEASE,
            tolerance=Tolerance(absolute=tolerance, relative=tolerance),
            reference=reference,
            tolerances=dict(map(_tolerated, tolerate or [])),
            dry_run=dry_run,
        ),
        ConsoleProgress(quiet=as_json),
    )
    if as_json:
        import json

        print(json.dumps(added.to_dict(), indent=2))
        return
    from repo_tool.cli.tensors import show_tensors

    out = console()
    show_tensors(added.config, added.version, added.parity)
    if added.skew is not None:
        _show_skew(added.skew)
    for warning in added.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        out.print("next: add rows to the sample that go in", style="bold", markup=False)
    out.print(f"models: {' → '.join(added.models[:-1] or added.models)}", markup=False, soft_wrap=True)
    if not added.published:
        out.print("dry run: nothing was published", style="yellow")
        return
    out.print(f"published {added.directory.version_path(added.version)}", markup=False, soft_wrap=True)
    _show_labels(added)
    out.print(f"next: repo-tool serve {repository}", style="bold", markup=False, soft_wrap=True)


def _show_labels(added: "AddedPipeline") -> None:
    """A pipeline answers with one version at a time, so that its labels are to follow."""
    from repo_tool.repository.labels import Labels
    from repo_tool.repository.layout import ModelRepository

    name = added.config.name
    for label, version in Labels.of(ModelRepository(added.directory.path.parent)).versions(name).items():
        words = f"label '{label}' points at version {version}, which is not loaded beside the new one"
        console().print(words, style="yellow", markup=False, soft_wrap=True)
        next_step = f"next: repo-tool promote {name} --label {label}, or let deploy or serve --watch --promote do so"
        console().print(next_step, style="bold", markup=False, soft_wrap=True)


def _tolerated(text: str) -> tuple[str, float]:
    """``wire=1e-3`` as the two."""
    from repo_tool.errors import UserMistakeError

    wire, _, number = text.partition("=")
    try:
        allowed = float(number)
    except ValueError:
        allowed = -1.0
    if not wire or not 0 <= allowed < float("inf"):
        raise UserMistakeError(
            f"'{text}' does not tell what is tolerated",
            cause="it is written WIRE=NUMBER",
            next_step="e.g. --tolerate tensor=0.001",
        )
    return wire, allowed


def _show_skew(skew: "SkewReport") -> None:
    from rich.table import Table

    from repo_tool.printable import printable

    title = f"compared with {skew.reference}, {skew.rows} rows"
    table = Table(title=printable(title), title_justify="left", title_style="bold")
    for heading in ("step", "wire"):
        table.add_column(heading, overflow="fold")
    for heading in ("rows that\ndiffer", "largest\ndifference", "\nrelative", "worst\nrow"):
        table.add_column(heading, justify="right")
    for wire in skew.wires:
        table.add_row(
            printable(wire.step),
            printable(wire.wire),
            str(wire.rows_that_differ),
            f"{wire.largest_absolute:.2g}",
            f"{wire.largest_relative:.2g}",
            "" if wire.worst_row is None else str(wire.worst_row),
        )
    console().print(table)
    for sentence in skew.untried:
        console().print(printable(f"note: {sentence}"), markup=False, highlight=False, soft_wrap=True)
