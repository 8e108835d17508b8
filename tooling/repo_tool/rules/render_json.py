# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as JSON, for programs."""

__all__ = ["render_json"]

import json
from collections.abc import Mapping
from typing import Any

from repo_tool.rules.diagnostics import Report, Severity


def render_json(report: Report, *, more: Mapping[str, Any] | None = None) -> str:
    """One object: what was looked at, counts by severity, the diagnostics, and ``more`` entries of the caller."""
    document = {
        **({"repositories": list(report.repositories)} if report.repositories else {}),
        "releases": list(report.releases),
        "models": len(report.models),
        "seconds": round(report.seconds, 3),
        **{f"{severity.value}s": report.count(severity) for severity in Severity},
        "diagnostics": [diagnostic.to_dict() for diagnostic in report.diagnostics],
        "suppressed": [diagnostic.to_dict() for diagnostic in report.suppressed],
        **(more or {}),
    }
    return json.dumps(document, indent=2)  # ASCII: a folder's name need not be Unicode
