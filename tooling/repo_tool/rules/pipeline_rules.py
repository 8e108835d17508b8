# SPDX-License-Identifier: Apache-2.0
"""ENS: pipelines and the models that they were proven with."""

__all__ = ["pipeline_behind_its_model"]

from collections.abc import Iterator, Mapping

from repo_tool.errors import RepositoryError
from repo_tool.repository.pins import pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject


@rule("ENS120", severity=Severity.WARNING)
def pipeline_behind_its_model(model: ModelSubject) -> Iterator[Finding]:
    """A pipeline was made with the newest version of each of its models.

    It asks for the version that it was proven with, or carries that version in its own graph: clients of the pipeline
    are not given what a newer version of the model has learned, until the pipeline is added again.

    Wrong::

        provenance.json of reader/1   "member_versions": { "digits": 1 }     (and digits/2)

    Right::

        provenance.json of reader/2   "member_versions": { "digits": 2 }
    """
    if model.variant or not model.served_versions:
        return
    for name, version in _proven_with(model).items():
        member = model.repository.models.get(name)
        newest = max(member.versions, default=0) if member else 0
        if isinstance(version, int) and newest > version:
            yield Finding(
                f"the pipeline answers with version {version} of '{name}'",
                cause=f"it was proven with that one, and version {newest} was added since",
                fix="add the pipeline again from its file: repo-tool add-pipeline, or repo-tool apply",
                field="ensemble_scheduling" if model.config.is_ensemble else "",
            )


def _proven_with(model: ModelSubject) -> Mapping[str, int]:
    """By the served version's provenance, which tells of merged models too; else what the configuration asks for."""
    try:
        facts = read_provenance(model.directory.provenance_path(model.served_versions[-1]))
    except RepositoryError:
        facts = {}
    return facts.get("member_versions") or pins_of(model.config)
