# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as SARIF 2.1.0, with what GitHub's code scanning asks for on top of the standard."""

__all__ = ["render_sarif"]

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from repo_tool.printable import printable, printable_lines
from repo_tool.rules.diagnostics import Diagnostic, Report, Severity
from repo_tool.rules.documentation import documentation_of, rule_markdown
from repo_tool.rules.registry import Rule
from repo_tool.rules.shown_paths import shown_path, uri

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_PROBLEM_SEVERITIES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}
# GitHub ranks security alerts by a CVSS score: 7.0 and more are high, 4.0 and more medium.
_SECURITY_SEVERITIES = {Severity.ERROR: "8.0", Severity.WARNING: "5.0", Severity.NOTE: "2.0"}
_FINGERPRINT = "repoToolFinding/v1"


def render_sarif(report: Report, *, rules: Sequence[Rule], folder: str, version: str) -> str:
    """One run with every rule that was asked and every diagnostic; suppressed ones say so.

    ``folder`` is the repository relative to the root of the sources, ``version`` that of repo-tool.
    """
    indices = {rule.code: index for index, rule in enumerate(rules)}
    seen: Counter[str] = Counter()
    driver = {"name": "repo-tool", "semanticVersion": version, "rules": [_descriptor(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(diagnostic, indices, folder, report, seen)
            for diagnostic in chain(report.diagnostics, report.suppressed)
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _descriptor(rule: Rule) -> dict[str, Any]:
    said = documentation_of(rule)
    is_security = rule.code.startswith("SEC")
    properties: dict[str, Any] = {
        "precision": "very-high",
        "problem.severity": _PROBLEM_SEVERITIES[rule.severity],
        "tags": [rule.code[:3], *(["security"] if is_security else [])],
    }
    if is_security:
        properties["security-severity"] = _SECURITY_SEVERITIES[rule.severity]
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.check.__name__.split("_")),
        "shortDescription": {"text": said.title},
        "fullDescription": {"text": said.text or said.title},
        "help": {"text": rule.documentation, "markdown": rule_markdown(rule, level=0)},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": properties,
    }


def _result(
    diagnostic: Diagnostic, indices: dict[str, int], folder: str, report: Report, seen: Counter[str]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": indices[diagnostic.code],
        "level": diagnostic.severity.value,
        "message": {"text": _message(diagnostic, report)},
        "locations": [_location(diagnostic, folder)],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(diagnostic, seen)},
        "properties": {"field": printable(diagnostic.field), "releases": list(diagnostic.releases)},
    }
    if why := diagnostic.suppression:
        kind = "inSource" if why.is_in_source else "external"
        result["suppressions"] = [{"kind": kind, "justification": printable(why.reason)}]
    return result


def _message(diagnostic: Diagnostic, report: Report) -> str:
    remarks = (f"{label.capitalize()}: {printable_lines(text)}" for label, text in diagnostic.remarks)
    return "\n".join((printable(report.fact(diagnostic)), *remarks))


def _location(diagnostic: Diagnostic, folder: str) -> dict[str, Any]:
    """The field, or the first line where no place is known: GitHub takes no result without a line."""
    found = diagnostic.region
    region = {"startLine": 1} if found is None else {"startLine": found.line, "startColumn": found.column}
    if found is not None and found.end_line is not None and found.end_column is not None:
        region |= {"endLine": found.end_line, "endColumn": found.end_column}
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri(shown_path(folder, diagnostic.path)), "uriBaseId": "%SRCROOT%"},
            "region": region,
        }
    }
    if diagnostic.model:
        location["logicalLocations"] = [{"fullyQualifiedName": _logical_name(diagnostic), "kind": "object"}]
    return location


def _logical_name(diagnostic: Diagnostic) -> str:
    return printable(f"{diagnostic.model}.{diagnostic.field}" if diagnostic.field else diagnostic.model)


def _fingerprint(diagnostic: Diagnostic, seen: Counter[str]) -> str:
    """The same wherever the field moves within its file; equal findings are counted."""
    words = "\0".join((diagnostic.code, diagnostic.path, diagnostic.field)).encode(errors="surrogateescape")
    digest = hashlib.sha256(words).hexdigest()[:32]
    seen[digest] += 1
    return f"{digest}:{seen[digest]}"
