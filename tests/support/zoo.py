# SPDX-License-Identifier: Apache-2.0
"""The zoo: every model that the frameworks offer, made small, and what became of it on the way through Triton.

``python -m support.zoo_run`` (``make coverage-frameworks``) runs it, resumes where it was interrupted, and writes
``docs/coverage.md``. The tests run a fixed sample of it.
"""

__all__ = ["Outcome", "ZooCase", "ZooSource", "run_case"]

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from repo_tool.errors import RepoToolError, UserMistakeError
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.progress import RecordedProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooSource:
    """A model as a person would have it: what stands on the command line."""

    source: str
    sample: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # further fields of AddModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooCase:
    """One model of the zoo; ``build`` makes it in a folder, always the same one."""

    family: str  # scikit-learn, XGBoost, PyTorch, …
    name: str
    build: Callable[[Path], ZooSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a model is served, or why it is not."""

    family: str
    name: str
    backend: str = ""  # "" when it is not served
    reason: str = ""  # why not by ONNX Runtime, or why not at all
    is_bug: bool = False  # let in and then failed: what broke is in ``reason``
    largest_difference: float = 0.0
    seconds: float = 0.0

    @property
    def served(self) -> bool:
        """Whether the real Triton answers as the framework does."""
        return bool(self.backend)


def run_case(case: ZooCase, folder: Path) -> Outcome:
    """Make the model and add it to a repository of its own, through the real server."""
    built = case.build(folder)
    started = perf_counter()
    request = AddModelRequest(
        source=built.source, name="model", repository=folder / "models", sample=built.sample, **built.options
    )
    try:
        added = add_model(request, RecordedProgress())
    except RepoToolError as error:
        reason = _without_folders(f"{error.fact}: {error.cause}".rstrip(": "))
        seconds, is_bug = perf_counter() - started, _is_no_refusal(error)
        return Outcome(family=case.family, name=case.name, reason=reason, is_bug=is_bug, seconds=seconds)
    return Outcome(
        family=case.family,
        name=case.name,
        backend=added.imported.backend,
        reason=added.imported.fallback_reason,
        largest_difference=added.parity.largest_absolute if added.parity else float("nan"),
        seconds=perf_counter() - started,
    )


def _is_no_refusal(error: RepoToolError) -> bool:
    """Whether the model was let in and then failed: its answers differ, or a process died of it."""
    return not isinstance(error, UserMistakeError) or error.fact.endswith(" died")


def _without_folders(reason: str) -> str:
    """The reason without the folders of this one run."""
    return re.sub(r"/\S*/(?=[^/\s]+)", "", reason)


def to_json(outcome: Outcome) -> str:
    """One line of the log that a later run resumes from."""
    return json.dumps({name: getattr(outcome, name) for name in Outcome.__dataclass_fields__})
