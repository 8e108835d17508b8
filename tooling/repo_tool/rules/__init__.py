# SPDX-License-Identifier: Apache-2.0
"""Validation: one function with a stable code per check, and what it finds."""

from repo_tool.rules.diagnostics import Diagnostic, Severity
from repo_tool.rules.registry import Rule, Scope
from repo_tool.rules.render_json import render_json
from repo_tool.rules.render_text import render_text
from repo_tool.rules.validation import RULES, find_rule, validate

__all__ = ["RULES", "Diagnostic", "Rule", "Scope", "Severity", "find_rule", "render_json", "render_text", "validate"]
