# SPDX-License-Identifier: Apache-2.0
"""What validation finds, as values."""

__all__ = ["Diagnostic", "Finding", "Severity"]

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad it is. Only an error means that some Triton refuses the model."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says about one place; the rule's code, its severity and the model are added by the registry."""

    message: str  # the fact
    cause: str = ""  # why it matters
    fix: str = ""  # what to do
    field: str = ""  # as in model_config.proto, e.g. `input[0].dims`
    file: str = "config.pbtxt"  # relative to the model directory; "" for the directory itself


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

    def to_dict(self) -> dict[str, str]:
        """As plain values, for ``--format json``."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "model": self.model,
            "path": self.path,
            "field": self.field,
            "message": self.message,
            "cause": self.cause,
            "fix": self.fix,
        }
