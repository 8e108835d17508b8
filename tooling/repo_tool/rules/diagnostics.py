# SPDX-License-Identifier: Apache-2.0
"""What validation finds, as values."""

__all__ = ["Diagnostic", "Finding", "Region", "Report", "Severity", "Suppression"]

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repo_tool.rules.fixes import Edit


class Severity(Enum):
    """How bad it is. Only an error means that some Triton refuses the model."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where in a text file; lines and columns count from 1 in characters, and the end column is just behind."""

    line: int
    column: int = 1
    end_line: int | None = None
    end_column: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """Why a diagnostic does not count: a comment in the file, or a setting for the model."""

    reason: str
    is_in_source: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says about one place; the rule's code, its severity and the model are added by the registry."""

    message: str  # the fact
    cause: str = ""  # why it matters
    fix: str = ""  # what to do
    field: str = ""  # as in model_config.proto, e.g. `input[0].dims`
    file: str = "config.pbtxt"  # relative to the model directory; "" for the directory itself
    region: Region | None = None  # where in the file; a field of config.pbtxt finds its own
    edits: tuple["Edit", ...] = ()  # what mends it and can do no harm


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding with its place: fact, cause and fix, each a fragment without a full stop."""

    code: str
    severity: Severity
    model: str  # "" where the repository as a whole is meant
    path: str  # relative to the repository, with forward slashes; "" for the repository itself
    field: str
    message: str
    cause: str
    fix: str
    region: Region | None = None
    edits: tuple["Edit", ...] = ()
    releases: tuple[str, ...] = ()  # those it holds for, of those that were asked about
    suppression: Suppression | None = None  # None when it counts
    repository: str = ""  # which, where a report is about several

    @property
    def line(self) -> int | None:
        """The line of the field, from 1; None where it is not known."""
        return self.region.line if self.region else None

    @property
    def column(self) -> int | None:
        """The column of the field, from 1; None where it is not known."""
        return self.region.column if self.region else None

    @property
    def remarks(self) -> tuple[tuple[str, str], ...]:
        """What there is to say beside the fact, each with its label."""
        return tuple((label, text) for label, text in (("cause", self.cause), ("fix", self.fix)) if text)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--format json``."""
        why = {} if self.suppression is None else {"reason": self.suppression.reason}
        where = {"repository": self.repository} if self.repository else {}
        return (
            where
            | {
                "code": self.code,
                "severity": self.severity.value,
                "model": self.model,
                "path": self.path,
                "line": self.line,
                "column": self.column,
                "end_line": self.region.end_line if self.region else None,
                "end_column": self.region.end_column if self.region else None,
                "field": self.field,
                "message": self.message,
                "cause": self.cause,
                "fix": self.fix,
                "releases": list(self.releases),
                "fixable": bool(self.edits),
            }
            | why
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found in a repository, or in several, and what was looked at."""

    models: tuple[str, ...]
    releases: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    suppressed: tuple[Diagnostic, ...] = ()
    seconds: float = 0.0
    repositories: tuple[str, ...] = ()  # where they are several

    def count(self, severity: Severity) -> int:
        """How many diagnostics count as ``severity``."""
        return Counter(diagnostic.severity for diagnostic in self.diagnostics)[severity]

    def findings(self, *, strict: bool = False) -> Iterator[Diagnostic]:
        """The diagnostics that make the check fail: errors and, when ``strict``, warnings."""
        counted = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
        return (diagnostic for diagnostic in self.diagnostics if diagnostic.severity in counted)

    def fact(self, diagnostic: Diagnostic) -> str:
        """A diagnostic's message, with the releases that it is about when they are not all and it does not say so."""
        is_for_all = set(diagnostic.releases) == set(self.releases)
        if is_for_all or any(release in diagnostic.message for release in diagnostic.releases):
            return diagnostic.message
        return f"{diagnostic.message} (only Triton {', '.join(diagnostic.releases)})"
