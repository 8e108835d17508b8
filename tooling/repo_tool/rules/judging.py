# SPDX-License-Identifier: Apache-2.0
"""Give diagnostics their places, and say which of them a comment or a project does not want to count."""

__all__ = ["judged"]

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from repo_tool.config.places import Place, Places, locate
from repo_tool.errors import ConfigError
from repo_tool.rules.diagnostics import Diagnostic, Region
from repo_tool.rules.ignoring import ignored
from repo_tool.rules.onnx_file import is_onnx_installed
from repo_tool.rules.registry import Rule
from repo_tool.rules.subjects import ModelSubject
from repo_tool.rules.suppressions import suppressed

_WORD = re.compile(r"\w+")
_PARSER_PLACE = re.compile(r"(\d+):(\d+) : ")  # how protobuf's parser begins what it has to say
_COMMENT_TO_US = re.compile(r"#\s*repo-tool\s*:")


def judged(
    diagnostics: Sequence[Diagnostic],
    model: ModelSubject,
    *,
    rules: Collection[Rule],
    known: Collection[str],
    ignores: Mapping[str, Collection[str]],
) -> list[Diagnostic]:
    """The diagnostics of a model with place and suppression, and those about its comments to us.

    The text is only looked through where something is to be placed, or a comment to be understood.

    Args:
        diagnostics: What the rules found.
        model: What it was found in.
        rules: Those that were asked.
        known: The codes that there are.
        ignores: Codes by patterns of model names that do not count there.
    """
    text = model.config_text
    if isinstance(text, ConfigError):
        return [ignored(diagnostic, ignores) for diagnostic in diagnostics]
    if not _COMMENT_TO_US.search(text):
        return [ignored(diagnostic, ignores) for diagnostic in _all_placed(diagnostics, model, text, None)]
    places = locate(text)
    placed = _all_placed(diagnostics, model, text, places)
    asked = {rule.code for rule in rules}
    # Comments in what is no configuration excuse nothing: Triton refuses the model, whatever they are about.
    excusable, kept = (placed, []) if model.config_error is None else ([], placed)
    counted, hidden, complaints = suppressed(
        excusable, text, places, model=model.name, known=known, asked=_sure(asked, model)
    )
    kept += counted
    path = f"{model.name}/{model.config_file}"
    kept += [replace(complaint, path=path) for complaint in complaints if complaint.code in asked]
    return [*(ignored(diagnostic, ignores) for diagnostic in kept), *hidden]


def _all_placed(
    diagnostics: Sequence[Diagnostic], model: ModelSubject, text: str, places: Places | None
) -> list[Diagnostic]:
    """Each diagnostic with its place; ``places`` are looked for here where there are none and any is needed."""
    path = f"{model.name}/{model.config_file}"
    wanting = [each for each in diagnostics if each.region is None and each.path == path]
    if model.config_error is not None:
        placed = {each: _as_the_parser_says(each, text) for each in wanting}
    else:
        found = places or locate(text) if any(each.field for each in wanting) else None
        placed = {each: replace(each, region=_region(found.find(each.field))) for each in wanting} if found else {}
    return [placed.get(each, each) for each in diagnostics]


def _sure(asked: Collection[str], model: ModelSubject) -> set[str]:
    """The codes that would have been found in ``model``, were there anything to find."""
    if model.config_error is not None:
        return set()
    return {code for code in asked if is_onnx_installed() or not code.startswith(("SIG", "REL"))}


def _as_the_parser_says(diagnostic: Diagnostic, text: str) -> Diagnostic:
    """With the line and column in front of the parser's words as the place, to the end of the word there."""
    place = _PARSER_PLACE.match(diagnostic.cause)
    if place is None:
        return diagnostic
    line, column = (max(int(number), 1) for number in place.groups())
    lines = text.split("\n")
    word = _WORD.match(lines[line - 1], column - 1) if line <= len(lines) else None
    end = word.end() + 1 if word else column + 1
    region = Region(line=line, column=column, end_line=line, end_column=end)
    return replace(diagnostic, region=region, cause=diagnostic.cause[place.end() :])


def _region(place: Place | None) -> Region | None:
    """The field as a whole where it fits a line, else its name."""
    if place is None:
        return None
    span = place.name if place.name is not None and place.line != place.end_line else place.span
    return Region(line=span.line, column=span.column, end_line=span.end_line, end_column=span.end_column)
