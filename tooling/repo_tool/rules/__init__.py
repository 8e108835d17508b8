# SPDX-License-Identifier: Apache-2.0
"""Validation: one function with a stable code per check, and what it finds."""

from repo_tool.rules.diagnostics import Diagnostic, Report, Severity
from repo_tool.rules.registry import Rule, Scope
from repo_tool.rules.render_json import render_json
from repo_tool.rules.render_text import render_text
from repo_tool.rules.validation import RULES, examine, find_rule, select_rules, validate

__all__ = [
    "RULES",
    "Diagnostic",
    "Report",
    "Rule",
    "Scope",
    "Severity",
    "examine",
    "find_rule",
    "render_json",
    "render_text",
    "select_rules",
    "validate",
]
