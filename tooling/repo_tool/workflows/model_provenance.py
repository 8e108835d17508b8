# SPDX-License-Identifier: Apache-2.0
"""Where a version comes from, with what it was made, and how it was proven: what its provenance tells."""

__all__ = ["provenance_of"]

import getpass
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import repo_tool
from repo_tool.importers.base import ImportedModel
from repo_tool.repository.provenance import digest_of, digests_of, shared_digests_of
from repo_tool.workflows.add_model_values import AddModelRequest
from repo_tool.workflows.given_options import given_options
from repo_tool.workflows.model_attempt import Attempt, Tried
from repo_tool.workflows.source_digests import digest_of_source


def provenance_of(attempt: Attempt, tried: Tried) -> dict[str, Any]:
    """The facts of a version that is staged whole and proven as far as it can be."""
    return {**_origin(attempt, tried.imported), **_proof(attempt.request, tried), **_contents(attempt, tried)}


def _origin(attempt: Attempt, imported: ImportedModel) -> dict[str, Any]:
    request, known = attempt.request, attempt.settling.known
    return {
        "repo_tool": repo_tool.__version__,
        "by": request.by,
        "owner": request.owner,
        "model": request.name,
        "source": Path(request.source).name,
        "source_digest": known(Path.cwd() / request.source) or digest_of_source(request.source, Path.cwd()),
        "weights_digest": digest_of(request.weights) if request.weights else None,
        "labels_digest": digest_of(request.labels) if request.labels else None,
        "options": given_options({option.name: getattr(request, option.name) for option in fields(request)}),
        "framework": imported.framework,
        "backend": imported.backend,
        "fallback_reason": imported.fallback_reason,
        "trusted": list(imported.trusted),
        "trusted_by": _person() if imported.trusted else None,
        "tools": dict(imported.tool_versions),
        "release": attempt.release.name,
        "signature": imported.signature.to_dict(),
    }


def _proof(request: AddModelRequest, tried: Tried) -> dict[str, Any]:
    imported = tried.imported
    return {
        "sample": {
            "origin": _sample_origin(request, imported),
            "digest": digest_of(request.sample) if request.sample else None,
            "rows": tried.written.sample.rows if imported.signature.can_batch else 1,
        },
        "tolerance": asdict(request.allowed_for(imported)),
        "verified": tried.parity is not None,
        "unproven": imported.unproven,
        "parity": tried.parity.to_dict() if tried.parity else None,
        "refinement": tried.refined.to_dict() if tried.refined else None,
    }


def _contents(attempt: Attempt, tried: Tried) -> dict[str, Any]:
    written = tried.written
    variants = {name: written.directory.variant_path(name) for name in written.directory.variants()}
    return {
        "config": written.derived_text,
        "configs": {name: path.read_text(encoding="utf-8") for name, path in variants.items()},
        "overrides": dict(attempt.request.config),
        "config_digest": digest_of(written.directory.config_path),
        "files": digests_of(written.directory.version_path(written.version), known=attempt.settling.known),
        "shared_files": shared_digests_of(written.directory.path),
    }


def _person() -> str:
    """Who runs this: the name of the account, or its number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of the two hangs on Python's version
        return f"user {os.getuid()}"


def _sample_origin(request: AddModelRequest, imported: ImportedModel) -> str:
    if request.sample:
        return request.sample.name
    return "generated" if imported.inputs_were_generated else "the package's own example"
