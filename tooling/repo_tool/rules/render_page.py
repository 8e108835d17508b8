# SPDX-License-Identifier: Apache-2.0
"""The page of all rules, made from their documentation."""

__all__ = ["Disagreement", "known_disagreements", "render_page"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repo_tool.rules.documentation import rule_markdown
from repo_tool.rules.registry import Rule

_DISAGREEMENTS_PATH = Path(__file__).parent / "disagreements.yaml"
_FAMILIES = {
    "REP": "files and folders",
    "CFG": "`config.pbtxt` by itself",
    "SIG": "the configuration against the model file",
    "ENS": "ensembles",
    "REL": "what a release can load",
    "SEC": "security",
}
_INTRODUCTION = """\
# The rules of `repo-tool validate`

This page is made from the rules themselves: `make docs`. `repo-tool rule CODE` shows one of them.

An **error** is what the Triton of the release refuses, or what can never answer a request; a **warning** is what loads
and does something else than it says; a **note** is worth knowing. A comment in `config.pbtxt` suppresses what is found
at the field below or beside it: `# repo-tool: allow CFG104 because …`, or with `allow-model` in the whole model; a
whole project does it as [validate.md](validate.md) shows.
"""
_NO_DISAGREEMENT = "None is known."


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A kind of configuration where the rules and Triton still differ, and why it stays so."""

    codes: tuple[str, ...]  # rules that are concerned; none where one is missing
    configuration: str
    rules_say: str
    triton_says: str
    reason: str
    words: str = ""  # a regular expression that Triton's words match


def known_disagreements() -> tuple[Disagreement, ...]:
    """Those of the data file beside this module."""
    import yaml

    entries = yaml.safe_load(_DISAGREEMENTS_PATH.read_text(encoding="utf-8")) or []
    return tuple(Disagreement(**entry | {"codes": tuple(entry["codes"])}) for entry in entries)


def render_page(rules: Sequence[Rule], disagreements: Sequence[Disagreement]) -> str:
    """The page, as Markdown."""
    parts = [_INTRODUCTION, "\n".join(_contents(rules))]
    for family, subject in _FAMILIES.items():
        parts.append(f"## {family}: {subject}")
        parts += [rule_markdown(rule, level=3) for rule in rules if rule.code.startswith(family)]
    parts.append("## Remaining disagreements with Triton")
    parts.append("\n".join(_table(disagreements)) if disagreements else _NO_DISAGREEMENT)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _contents(rules: Sequence[Rule]) -> Iterator[str]:
    yield "| code | severity | demands | `--fix` |"
    yield "|---|---|---|---|"
    for rule in rules:
        title = rule.title.replace("``", "`").replace("|", "\\|")
        yield f"| {rule.code} | {rule.severity.value} | {title} | {'yes' if rule.fixable else ''} |"


def _table(disagreements: Sequence[Disagreement]) -> Iterator[str]:
    yield "| rules | configuration | `validate` says | Triton says | why it stays |"
    yield "|---|---|---|---|---|"
    for each in disagreements:
        words = (", ".join(each.codes), each.configuration, each.rules_say, each.triton_says, each.reason)
        yield f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"
