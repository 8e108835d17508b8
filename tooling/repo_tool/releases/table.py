# SPDX-License-Identifier: Apache-2.0
"""Look up what a Triton release can load; the facts and their sources are in ``releases.yaml``."""

__all__ = [
    "DEFAULT_RELEASE",
    "Release",
    "first_release_with_all_fixes",
    "known_releases",
    "last_release_with_backend",
    "release",
]

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from repo_tool.errors import ReleaseError

DEFAULT_RELEASE = "26.07"  # the image that docker-compose.yml builds on
_FACTS_PATH = Path(__file__).parent / "releases.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One NGC release, e.g. 26.07, and what its ``-py3`` image can load."""

    name: str
    triton_version: str
    onnxruntime_version: str | None  # None: the image has no ONNX Runtime
    max_onnx_ir: int | None  # None: the image has no ONNX Runtime
    max_onnx_opset: int | None  # of the default domain, ai.onnx
    python_version: str  # of the Python backend's stub, e.g. 3.12
    backends: frozenset[str]
    unknown_config_fields: frozenset[str]  # fields of config.pbtxt that only newer releases know
    fixed_all_published_cves: bool

    def __str__(self) -> str:
        return f"{self.name} (Triton {self.triton_version})"


def known_releases() -> tuple[str, ...]:
    """The names of all releases in the table, oldest first."""
    return tuple(sorted(_facts()["releases"]))


@cache
def release(name: str = DEFAULT_RELEASE) -> Release:
    """The release called ``name``, e.g. ``26.07``.

    Raises:
        ReleaseError: the table has no such release; the message lists those that are near.
    """
    row = _facts()["releases"].get(name)
    if row is None:
        raise _unknown(name)
    return Release(
        name=name,
        triton_version=row["triton"],
        onnxruntime_version=row["onnxruntime"],
        max_onnx_ir=row["max_ir"],
        max_onnx_opset=row["max_opset"],
        python_version=row["python"],
        backends=frozenset(backend for backend, span in _facts()["backends"].items() if _ships(span, name)),
        unknown_config_fields=frozenset(field for field, first in _facts()["config_fields"].items() if name < first),
        fixed_all_published_cves=name >= first_release_with_all_fixes(),
    )


def first_release_with_all_fixes() -> str:
    """The oldest release that contains the fix of every vulnerability published so far."""
    return str(_facts()["first_release_with_all_fixes"])


def last_release_with_backend(backend: str) -> str | None:
    """The newest release that ships ``backend``; None when no release ever did."""
    shipping = [name for name in known_releases() if backend in release(name).backends]
    return shipping[-1] if shipping else None


def _ships(span: dict[str, Any], name: str) -> bool:
    """Whether a backend's span holds release ``name``; YY.MM names sort as text."""
    if name in span.get("except", ()):
        return False
    return (span["first"] is None or span["first"] <= name) and (span["last"] is None or name <= span["last"])


def _unknown(name: str) -> ReleaseError:
    near = difflib.get_close_matches(name, known_releases(), n=4, cutoff=0.5) or known_releases()[-4:]
    return ReleaseError(
        f"there is no Triton release {name!r}",
        cause=f"the table knows {known_releases()[0]} to {known_releases()[-1]}, named as NGC names its images",
        next_step="did you mean " + ", ".join(sorted(near)) + "?",
    )


@cache
def _facts() -> dict[str, Any]:
    import yaml

    facts: dict[str, Any] = yaml.safe_load(_FACTS_PATH.read_text(encoding="utf-8"))
    return facts
