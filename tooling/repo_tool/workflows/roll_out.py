# SPDX-License-Identifier: Apache-2.0
"""A server brought to what the repository says of a model: the new beside the old, proven, and only then instead."""

__all__ = ["RollOutRequest", "RolledOut", "roll_out"]

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_client import Client
from repo_tool.workflows.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RollOutRequest:
    """Which model, and from where the server reads it; a pipeline comes with the models that it needs."""

    model: str
    repository: Path
    label: str | None = None  # points at the newest version once that is proven
    variant: str = ""  # the server's --model-config-name
    timeout_s: float = 60.0  # for Triton to come to an end with loading a model
    # Ends what Triton is loading for (model, version) when that takes longer; without it Triton stays at it.
    abandon: Callable[[str, int], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """What came of it."""

    model: str
    before: tuple[int, ...]  # the versions that the server served
    served: tuple[int, ...]  # those that it serves now
    proven: tuple[int, ...]  # those whose published answers came back
    models: tuple[str, ...]  # all that were loaded: the model itself, and of a pipeline those that it needed anew
    label: str = ""
    label_before: int | None = None  # what the label pointed at
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "model": self.model,
            "before": list(self.before),
            "served": list(self.served),
            "proven": list(self.proven),
            "models": list(self.models),
            "label": self.label,
            "label_before": self.label_before,
            "seconds": round(self.seconds, 3),
        }


def roll_out(request: RollOutRequest, client: Client, progress: Progress) -> RolledOut:
    """Let the server serve the versions that the model's configuration in the repository loads.

    What serves now serves on until the new versions are proven; nothing moves a label before that. Should a step
    fail, what was served is restored and asked for.

    Raises:
        RollOutError: it was not; ``cause`` names why, ``restored`` says whether all is as it was.
        RepositoryError: the repository has no such model.
        ServerUnreachableError: no server answers.
    """
    raise NotImplementedError
