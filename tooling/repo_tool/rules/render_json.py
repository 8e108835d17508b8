# SPDX-License-Identifier: Apache-2.0
"""Diagnostics as JSON, for programs."""

__all__ = ["render_json"]

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from repo_tool.rules.diagnostics import Diagnostic, Severity


def render_json(
    diagnostics: Sequence[Diagnostic],
    *,
    models: int,
    release: str,
    seconds: float,
    more: Mapping[str, Any] | None = None,
) -> str:
    """One object: what was looked at, counts by severity, the diagnostics, and ``more`` entries of the caller."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    document = {
        "release": release,
        "models": models,
        "seconds": round(seconds, 3),
        **{f"{severity.value}s": counts[severity] for severity in Severity},
        "diagnostics": [diagnostic.to_dict() for diagnostic in diagnostics],
        **(more or {}),
    }
    return json.dumps(document, indent=2)  # ASCII: a folder's name need not be Unicode
