# SPDX-License-Identifier: Apache-2.0
"""Give diagnostics their lines and columns."""

__all__ = ["located"]

import re
from collections.abc import Iterable
from dataclasses import replace

from repo_tool.config.places import Place, locate
from repo_tool.errors import ConfigError
from repo_tool.rules.diagnostics import Diagnostic, Region
from repo_tool.rules.subjects import ModelSubject

_WORD = re.compile(r"\w+")
_PARSER_PLACE = re.compile(r"(\d+):(\d+) : ")  # how protobuf's parser begins what it has to say


def located(diagnostics: Iterable[Diagnostic], model: ModelSubject) -> list[Diagnostic]:
    """The diagnostics of ``model``, those about its ``config.pbtxt`` with the place of their field.

    The text is only looked through when there is one to be placed.
    """
    found = list(diagnostics)
    text = model.config_text
    if isinstance(text, ConfigError) or not any(_wants_place(each) for each in found):
        return found
    if model.config_error is not None:
        return [_as_the_parser_says(each, text) if _wants_place(each) else each for each in found]
    places = locate(text)
    return [replace(each, region=_region(places.find(each.field))) if _wants_place(each) else each for each in found]


def _wants_place(diagnostic: Diagnostic) -> bool:
    return diagnostic.region is None and diagnostic.path == f"{diagnostic.model}/config.pbtxt"


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
