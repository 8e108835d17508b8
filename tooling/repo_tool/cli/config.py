# SPDX-License-Identifier: Apache-2.0
"""``repo-tool config``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.console import complete_model, console, error_console

if TYPE_CHECKING:
    from repo_tool.repository.layout import ModelDirectory
    from repo_tool.workflows.edit_config import ConfigChange


def config(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    field: Annotated[
        str | None, typer.Argument(help="Show only this field, e.g. `input[0].dims` or `parameters[key]`.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set a field, e.g. `max_batch_size=8`. May be repeated."),
    ] = None,
    removals: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="FIELD", help="Remove a field, after what is set. May be repeated."),
    ] = None,
    repository: Annotated[Path, typer.Option("--repository", "-r", help="Where the model is.")] = Path(
        "model_repository"
    ),
    variant: Annotated[
        str, typer.Option(metavar="NAME", help="Not config.pbtxt, but configs/NAME.pbtxt.", show_default=False)
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the change and check it, but write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show a model's config.pbtxt, or change fields of it and leave comments and layout alone.

    A value is protobuf text: `8`, `true`, `KIND_CPU`, `[1, 2]`, `{ latest { num_versions: 2 } }`; a string may do
    without quotes. What a field lies in is created, and the index behind the last appends. The change is validated
    first: one that brings an error which was not there before is refused, and nothing is written. Where
    `configs/cpu.pbtxt` or `configs/gpu.pbtxt` says the same about a field, it changes there too.

    **Example:**

        repo-tool config churn --set dynamic_batching.max_queue_delay_microseconds=500
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.edit_config import change_config, split_assignment

    place = ModelRepository(repository)
    if not (assignments or removals):
        _show(place.existing_model(model), field, variant=variant, as_json=as_json)
        return
    if field is not None:
        raise UserMistakeError(
            "a field is shown or changed, not both",
            cause=f"'{field}' stands beside --set or --unset",
            next_step=f"leave '{field}' out",
        )
    pairs = [split_assignment(words) for words in assignments or ()]
    change = change_config(place, model, assignments=pairs, removals=removals or (), variant=variant, dry_run=dry_run)
    if as_json:
        import json

        print(json.dumps(_facts(change, is_written=not dry_run and bool(change.diff)), indent=2))
        return
    _show_change(change, model=model, dry_run=dry_run)


def _show(model: "ModelDirectory", field: str | None, *, variant: str, as_json: bool) -> None:
    from repo_tool.workflows.edit_config import as_plain_values, field_value, read_config_text

    text = read_config_text(model, variant=variant)
    if as_json:
        import json

        print(json.dumps(as_plain_values(text, field), indent=2))
        return
    _show_text(text if field is None else field_value(text, field) + "\n")


def _show_text(text: str) -> None:
    """Protobuf text: coloured in a terminal, byte by byte what is in the file elsewhere."""
    out = console()
    if not out.is_terminal:
        print(text, end="")
        return
    from rich.syntax import Syntax

    from repo_tool.printable import printable

    out.print(Syntax(printable(text), "protobuf", theme="ansi_dark", background_color="default"), end="")


def _facts(change: "ConfigChange", *, is_written: bool) -> dict[str, Any]:
    return {
        "file": change.path,
        "files": [file.path for file in change.files if file.after != file.before],
        "kept": [{"file": kept.path, "field": kept.field} for kept in change.kept],
        "changed": bool(change.diff),
        "written": is_written,
        "diff": change.diff,
        "diagnostics": [diagnostic.to_dict() for diagnostic in change.new],
    }


def _show_change(change: "ConfigChange", *, model: str, dry_run: bool) -> None:
    from repo_tool.cli.diff_output import print_diff
    from repo_tool.printable import printable

    if not change.diff:
        print("nothing to change: the file says so already")
        return
    print_diff(change.diff)
    err = error_console()
    for kept in change.kept:
        words = f"kept: {kept.path} has its own {kept.field}; change it with --variant {Path(kept.path).stem}"
        err.print(printable(words), style="yellow", markup=False, soft_wrap=True)
    for diagnostic in change.new:
        words = f"{diagnostic.severity.value}: {diagnostic.code} {diagnostic.field}: {diagnostic.message}"
        err.print(printable(words), style="yellow", markup=False, soft_wrap=True)
    if dry_run:
        err.print("dry run: nothing was written", style="bold")
        return
    words = f"written; repo-tool serve --watch follows by itself, repo-tool deploy {model} tells any other server"
    err.print(printable(words), markup=False, soft_wrap=True)
