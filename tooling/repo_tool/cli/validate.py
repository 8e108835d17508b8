# SPDX-License-Identifier: Apache-2.0
"""``repo-tool validate``."""

__all__ = ["validate"]

import time
from collections.abc import Collection, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from repo_tool.rules import Diagnostic, Rule
    from repo_tool.workflows.live_verdicts import LiveVerdict


class OutputFormat(Enum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"


def validate(
    path: Annotated[Path, typer.Argument(help="The model repository.")] = Path("model_repository"),
    release: Annotated[
        str | None, typer.Option(help="The Triton release that must load it, e.g. 24.10.  [default: docker-compose's]")
    ] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="text for people, json for programs.")
    ] = OutputFormat.TEXT,
    live: Annotated[
        bool, typer.Option("--live", help="Also load every model alone in the embedded Triton and show its words.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as findings too.")] = False,
    select: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only these rules or families, e.g. SIG. May be repeated.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Not these rules or families. May be repeated.")
    ] = None,
) -> None:
    """Check a model repository without starting a server: what would Triton refuse, and what would it silently change?

    Leaves with 0 when nothing is wrong, 1 when there are errors (with --strict: or warnings), 2 when it could not look.

    **Example:**

        repo-tool validate model_repository --release 24.10 --live
    """
    from repo_tool.releases import DEFAULT_RELEASE
    from repo_tool.releases import release as find_release
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.rules import Severity
    from repo_tool.rules import validate as find_diagnostics

    started = time.monotonic()
    triton_release = find_release(release or DEFAULT_RELEASE)
    repository = ModelRepository(path)
    rules = _chosen_rules(select or (), ignore or ())
    diagnostics = find_diagnostics(repository, release=triton_release, rules=rules)
    verdicts: list[LiveVerdict] | None = None
    if live:
        from repo_tool.workflows.live_verdicts import live_verdicts

        everything = find_diagnostics(repository, release=triton_release)
        verdicts = list(live_verdicts(repository, everything, release=triton_release))
    models, seconds = len(tuple(repository.models())), time.monotonic() - started
    if output_format is OutputFormat.JSON:
        _show_json(diagnostics, verdicts, models=models, release=triton_release.name, seconds=seconds)
    else:
        _show_text(diagnostics, verdicts, models=models, seconds=seconds)
    counted = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    is_found = any(found.severity in counted for found in diagnostics)
    if is_found or any(_is_bad(verdict) for verdict in verdicts or ()):
        raise typer.Exit(1)


def _chosen_rules(select: Collection[str], ignore: Collection[str]) -> "tuple[Rule, ...]":
    from repo_tool.rules import RULES, find_rule

    families = {rule.code[:3] for rule in RULES}
    for code in (*select, *ignore):
        if code.upper() not in families:
            find_rule(code)  # says which codes are near

    def names(codes: Collection[str], code: str) -> bool:
        return any(wanted.upper() in (code, code[:3]) for wanted in codes)

    return tuple(rule for rule in RULES if (not select or names(select, rule.code)) and not names(ignore, rule.code))


def _is_bad(verdict: "LiveVerdict") -> bool:
    return verdict.is_disagreement or (bool(verdict.refusal) and not verdict.is_embedded_limit)


def _show_json(
    diagnostics: "Sequence[Diagnostic]",
    verdicts: "Sequence[LiveVerdict] | None",
    *,
    models: int,
    release: str,
    seconds: float,
) -> None:
    from repo_tool.rules import render_json

    more = {} if verdicts is None else {"live": [verdict.to_dict() for verdict in verdicts]}
    print(render_json(diagnostics, models=models, release=release, seconds=seconds, more=more))


def _show_text(
    diagnostics: "Sequence[Diagnostic]", verdicts: "Sequence[LiveVerdict] | None", *, models: int, seconds: float
) -> None:
    from repo_tool.rules import render_text
    from repo_tool.rules.render_text import summary

    print(render_text(diagnostics, style=_style), end="")
    for verdict in verdicts or ():
        print(_verdict_line(verdict))
    print(summary(diagnostics, models=models, seconds=seconds) + _live_summary(verdicts or ()))


def _live_summary(verdicts: "Sequence[LiveVerdict]") -> str:
    refused = sum(bool(verdict.refusal) for verdict in verdicts)
    disagreements = sum(verdict.is_disagreement for verdict in verdicts)
    counted = f"; Triton refused {refused} of {len(verdicts)}" if refused else ""
    return counted + (f", {disagreements} of them not as the rules foresaw" if disagreements else "")


def _verdict_line(verdict: "LiveVerdict") -> str:
    from repo_tool.rules.render_text import printable

    words = f"refused: {verdict.refusal}" if verdict.refusal else "loads"
    codes = f"  [{', '.join(verdict.codes)}]" if verdict.codes else ""
    line = f"{_style(f'live {printable(verdict.model)}', 'place')}: {printable(words)}{codes}"
    if verdict.is_embedded_limit:
        return f"{line}  (a limit of the embedded Triton; a GPU server may load it)"
    if not verdict.is_disagreement:
        return line
    why = "no rule foresaw it" if verdict.refusal else "the rules foresaw a refusal"
    return f"{line}\n  {_style(f'DISAGREEMENT: {why}', 'error')}: please report it with the model's config.pbtxt"


def _style(text: str, part: str) -> str:
    from repo_tool.cli.console import console

    if not console().is_terminal or console().no_color:
        return text
    colours = {"error": "red", "warning": "yellow", "note": "blue"}
    return typer.style(text, fg=colours.get(part), bold=part in ("place", *colours), dim=part == "label")
