# SPDX-License-Identifier: Apache-2.0
"""A rule's docstring, taken apart: what it demands, what is wrong, what is right."""

__all__ = ["RuleDocumentation", "documentation_of", "rule_facts", "rule_markdown"]

import textwrap
from dataclasses import dataclass
from typing import Any

from repo_tool.rules.registry import Rule, Scope
from repo_tool.rules.suppressions import NEVER_ALLOWED

_WRONG, _RIGHT = "\nWrong::\n", "\nRight::\n"
_ALL_RELEASES = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDocumentation:
    """The parts of a rule's docstring; ``wrong`` and ``right`` are examples, without their indentation."""

    title: str
    text: str  # the paragraphs below the title; "" where the title says it all
    wrong: str
    right: str


def documentation_of(rule: Rule) -> RuleDocumentation:
    """The parts of ``rule``'s documentation, as Markdown; what is wrong and right as it stands."""
    said, _, examples = rule.documentation.partition(_WRONG)
    wrong, _, right = examples.partition(_RIGHT)
    title, _, text = said.partition("\n")
    return RuleDocumentation(
        title=_markdown(title), text=_markdown(text.strip()), wrong=_dedented(wrong), right=_dedented(right)
    )


def _dedented(example: str) -> str:
    return textwrap.dedent(example).strip("\n").rstrip()


def rule_facts(rule: Rule) -> dict[str, Any]:
    """All that is known of a rule, as plain values."""
    said = documentation_of(rule)
    return {
        "code": rule.code,
        "severity": rule.severity.value,
        "title": said.title,
        "text": said.text,
        "wrong": said.wrong,
        "right": said.right,
        "releases": rule.releases or _ALL_RELEASES,
        "fixable": rule.fixable,
        "suppress": _suppressing(rule),
    }


def _suppressing(rule: Rule) -> str:
    if rule.code in NEVER_ALLOWED:
        return ""
    word = "allow-model" if rule.scope is Scope.DIRECTORY else "allow"
    return f"# repo-tool: {word} {rule.code} because …"


def rule_markdown(rule: Rule, *, level: int) -> str:
    """A rule's section of a page, its heading of ``level``; level 0 leaves the heading out."""
    said = documentation_of(rule)
    heading = [f"{'#' * level} {rule.code}: {said.title.rstrip('.')}"] if level else []
    facts = [f"**{rule.severity.value}**", f"releases: {rule.releases or _ALL_RELEASES}"]
    facts.append("mended by `repo-tool validate --fix`" if rule.fixable else "mended by hand")
    parts = [
        *heading,
        " · ".join(facts),
        said.text,
        "Wrong:",
        f"```text\n{said.wrong}\n```",
        "Right:",
        f"```text\n{said.right}\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _markdown(text: str) -> str:
    """A docstring's double backquotes as single ones."""
    return text.replace("``", "`")
