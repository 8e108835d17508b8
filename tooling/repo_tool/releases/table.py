# SPDX-License-Identifier: Apache-2.0
"""Look up what a Triton release can load; the facts and their sources are in ``releases.yaml``."""

__all__ = [
    "DEFAULT_RELEASE",
    "Release",
    "Vulnerability",
    "first_release_with_all_fixes",
    "first_release_with_field",
    "first_release_with_variants",
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
class Vulnerability:
    """A published vulnerability of Triton, and the first release without it."""

    cve: str  # e.g. CVE-2025-23316
    fixed: str  # a release's name
    bulletin: int  # of NVIDIA's
    what: str  # "" where the bulletin is all that is known
    component: str  # the part that has it; "" for the server itself
    score: float | None  # CVSS 3.1 base score


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One NGC release, e.g. 26.07, and what its ``-py3`` image can load."""

    name: str
    triton_version: str
    onnxruntime_version: str | None  # None: the image has no ONNX Runtime
    max_onnx_ir: int | None  # None: the image has no ONNX Runtime
    max_onnx_opset: int | None  # of the default domain, ai.onnx
    max_ml_opset: int | None  # of ai.onnx.ml
    python_version: str  # of the Python backend's stub, e.g. 3.12
    backends: frozenset[str]
    unknown_config_fields: frozenset[str]  # paths of fields of config.pbtxt that only newer releases know
    vulnerabilities: tuple[Vulnerability, ...]  # published ones whose fixes it lacks, the gravest first

    @property
    def fixed_all_published_cves(self) -> bool:
        """Whether it contains the fix of every published vulnerability."""
        return not self.vulnerabilities

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
        max_ml_opset=row["max_ml"],
        python_version=row["python"],
        backends=frozenset(backend for backend, span in _facts()["backends"].items() if _ships(span, name)),
        unknown_config_fields=frozenset(field for field, first in _facts()["config_fields"].items() if name < first),
        vulnerabilities=tuple(found for found in _vulnerabilities() if name < found.fixed),
    )


def first_release_with_all_fixes() -> str:
    """The oldest release that contains the fix of every vulnerability published so far."""
    return max(found.fixed for found in _vulnerabilities())


@cache
def _vulnerabilities() -> tuple[Vulnerability, ...]:
    found = (
        Vulnerability(
            cve=cve,
            fixed=row["fixed"],
            bulletin=row["bulletin"],
            what=row.get("what", ""),
            component=row.get("of", ""),
            score=row.get("score"),
        )
        for cve, row in _facts()["vulnerabilities"].items()
    )
    return tuple(sorted(found, key=lambda each: (-(each.score or 0.0), each.cve)))


def first_release_with_field(path: str) -> str:
    """The oldest release that knows a field of config.pbtxt, e.g. ``model_metrics``; one of those that came later."""
    return str(_facts()["config_fields"][path])


def first_release_with_variants() -> str:
    """The oldest release that can read ``configs/NAME.pbtxt`` in place of ``config.pbtxt``."""
    return str(_facts()["first_release_with_variants"])


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

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where it is built in
    facts: dict[str, Any] = yaml.load(_FACTS_PATH.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 # both safe
    return facts
