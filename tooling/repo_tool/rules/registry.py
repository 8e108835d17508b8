# SPDX-License-Identifier: Apache-2.0
"""Turn a documented function into a rule, and run it."""

__all__ = ["Rule", "Scope", "repository_rule", "rule"]

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from repo_tool.rules.diagnostics import Diagnostic, Finding, Severity
from repo_tool.rules.subjects import ModelSubject, RepositorySubject

_MOST_LETTERS = 2000
_CODE = re.compile(r"(REP|CFG|SIG|ENS|REL|SEC)[0-9]{3}")


class Scope(Enum):
    """What a rule looks at, which decides when it runs."""

    REPOSITORY = "repository"  # once
    DIRECTORY = "directory"  # every model directory, whatever state its configuration is in
    TEXT = "text"  # every configuration, in whatever state it is: config.pbtxt, and each in configs/
    CONFIG = "config"  # every configuration that parses


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A check with a stable code; its documentation is the function's docstring."""

    code: str
    severity: Severity
    scope: Scope
    documentation: str
    check: Callable[[Any], Iterable[Finding]]
    # Whether the embedded server refuses such a model too; not when the refusal belongs to another release or machine.
    embedded_refuses: bool
    # For which releases it can fire, in words, where not for all.
    releases: str = ""
    # Whether `validate --fix` can mend what it finds.
    fixable: bool = False

    @property
    def title(self) -> str:
        """The first line of the documentation."""
        return self.documentation.splitlines()[0]

    def run(self, subject: ModelSubject | RepositorySubject) -> Iterator[Diagnostic]:
        """What the check finds in ``subject``."""
        model, config_file = (subject.name, subject.config_file) if isinstance(subject, ModelSubject) else ("", "")
        for finding in self.check(subject):
            file = config_file if finding.file == "config.pbtxt" else finding.file
            yield Diagnostic(
                code=self.code,
                severity=self.severity,
                model=model,
                path="/".join(part for part in (model, file) if part) if model else "",
                field=finding.field,
                message=_cut(finding.message),
                cause=_cut(finding.cause),
                fix=_cut(finding.fix),
                region=finding.region,
                edits=finding.edits,
            )


def _cut(text: str) -> str:
    """Names come from files, and one of a megabyte says no more than its beginning."""
    if len(text) <= _MOST_LETTERS:
        return text
    return f"{text[:_MOST_LETTERS]}… ({len(text):,} letters)"


def rule(
    code: str,
    *,
    severity: Severity = Severity.ERROR,
    scope: Scope = Scope.CONFIG,
    embedded_refuses: bool | None = None,  # None: as every error
    releases: str = "",
    fixable: bool = False,
) -> Callable[[Callable[[ModelSubject], Iterable[Finding]]], Rule]:
    """Make a rule of a function over one model; its docstring shows what is wrong before what is right.

    ``releases`` says in words for which it can fire, where not for all; a ``fixable`` one's findings carry edits.
    """

    def made(check: Callable[[ModelSubject], Iterable[Finding]]) -> Rule:
        refuses = severity is Severity.ERROR if embedded_refuses is None else embedded_refuses
        return _rule(code, severity, scope, check, embedded_refuses=refuses, releases=releases, fixable=fixable)

    return made


def repository_rule(
    code: str, *, severity: Severity = Severity.ERROR, releases: str = ""
) -> Callable[[Callable[[RepositorySubject], Iterable[Finding]]], Rule]:
    """Make a rule of a function over the whole repository."""

    def made(check: Callable[[RepositorySubject], Iterable[Finding]]) -> Rule:
        return _rule(code, severity, Scope.REPOSITORY, check, embedded_refuses=False, releases=releases)

    return made


def _rule(
    code: str,
    severity: Severity,
    scope: Scope,
    check: Callable[[Any], Iterable[Finding]],
    *,
    embedded_refuses: bool,
    releases: str,
    fixable: bool = False,
) -> Rule:
    if not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is no rule code: a family (REP, CFG, SIG, ENS, REL, SEC) and three digits")
    return Rule(
        code=code,
        severity=severity,
        scope=scope,
        documentation=inspect.getdoc(check) or "",
        check=check,
        embedded_refuses=embedded_refuses,
        releases=releases,
        fixable=fixable,
    )
