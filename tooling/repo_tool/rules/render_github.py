# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as GitHub's workflow commands, which a run shows beside the lines of a pull request."""

__all__ = ["render_github"]

from repo_tool.printable import printable, printable_lines
from repo_tool.rules.diagnostics import Diagnostic, Report, Severity
from repo_tool.rules.shown_paths import shown_path

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_DATA_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY_ESCAPES = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def render_github(report: Report, *, folder: str) -> str:
    """One command a line, errors first: GitHub shows ten of a kind in a step and drops the rest.

    ``folder`` is the repository relative to the root of the work tree.
    """
    order = list(Severity)
    ranked = sorted(report.diagnostics, key=lambda diagnostic: order.index(diagnostic.severity))
    return "".join(f"{_command(diagnostic, folder, report)}\n" for diagnostic in ranked)


def _command(diagnostic: Diagnostic, folder: str, report: Report) -> str:
    properties = {"file": printable(shown_path(folder, diagnostic.path))}
    if region := diagnostic.region:
        properties |= {"line": str(region.line), "col": str(region.column)}
        if region.end_line is not None and region.end_column is not None:
            properties |= {"endLine": str(region.end_line), "endColumn": str(region.end_column)}
    where = f" {diagnostic.field}" if diagnostic.field else ""
    properties["title"] = printable(f"{diagnostic.code}{where}")
    written = ",".join(f"{name}={value.translate(_PROPERTY_ESCAPES)}" for name, value in properties.items())
    return f"::{_COMMANDS[diagnostic.severity]} {written}::{_message(diagnostic, report).translate(_DATA_ESCAPES)}"


def _message(diagnostic: Diagnostic, report: Report) -> str:
    remarks = (f"{label}: {printable_lines(text)}" for label, text in diagnostic.remarks)
    return "\n".join((printable(report.fact(diagnostic)), *remarks))
