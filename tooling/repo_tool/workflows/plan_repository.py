# SPDX-License-Identifier: Apache-2.0
"""A ``repo-tool.yaml`` held against its repository: what would change. Nothing is loaded, started or written."""

__all__ = ["RepositoryPlan", "plan_repository"]

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import SpecificationError
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.plan_actions import Plan, make_plan
from repo_tool.workflows.plan_desired import Desired, read_desired
from repo_tool.workflows.plan_file import WrittenFile, read_repository_file
from repo_tool.workflows.plan_found import read_found


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """The file, what it asks for, and what that takes."""

    file: WrittenFile
    repository: ModelRepository
    desired: Desired
    plan: Plan

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {"file": str(self.file.written.path), "repository": str(self.repository.path), **self.plan.to_dict()}


def plan_repository(
    path: Path, *, repository: Path | None = None, prune: bool | None = None, replace: Collection[str] = ()
) -> RepositoryPlan:
    """Compare by digests; ``repository`` None is the one that the file names.

    Raises:
        SpecificationError: the file cannot be followed, or ``replace`` names what it does not list.
        RepositoryError: the repository is no folder.
    """
    file = read_repository_file(path)
    there = ModelRepository(repository or file.repository)
    desired = read_desired(file)
    unknown = sorted({*replace} - desired.names)
    if unknown:
        raise SpecificationError(
            f"'{unknown[0]}' cannot be replaced: '{path}' does not list it",
            cause=f"it lists {', '.join(sorted(desired.names)) or 'nothing'}",
            next_step="name one of those",
        )
    plan = make_plan(desired, read_found(there, desired.names, members=desired.members), prune=prune, replace=replace)
    return RepositoryPlan(file=file, repository=there, desired=desired, plan=plan)
