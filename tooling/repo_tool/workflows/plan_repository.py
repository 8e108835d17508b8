# SPDX-License-Identifier: Apache-2.0
"""A ``repo-tool.yaml`` held against its repository: what would change. Nothing is loaded, started or written."""

__all__ = ["RepositoryPlan", "plan_repository"]

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import SpecificationError
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.plan_actions import Plan, make_plan
from repo_tool.workflows.plan_desired import Desired, read_desired
from repo_tool.workflows.plan_file import WrittenFile, read_repository_file
from repo_tool.workflows.plan_found import FoundModel, read_found


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """The file, what it asks for, and what that takes."""

    file: WrittenFile
    repository: ModelRepository
    desired: Desired
    found: Mapping[str, FoundModel]
    plan: Plan
    prune: bool | None = None
    replace: Collection[str] = ()

    def again(self) -> "RepositoryPlan":
        """The same file held against the repository as it is by now."""
        found = read_found(self.repository, self.desired.names, members=self.desired.members)
        plan = make_plan(self.desired, found, prune=self.prune, replace=self.replace)
        return dataclasses.replace(self, found=found, plan=plan)

    def differs_from(self, other: "RepositoryPlan") -> str | None:
        """The first model that is not as it was, of those that something is done to; None where there is none."""
        mine, theirs = ({action.model: action for action in each.plan.actions} for each in (self, other))
        for name in dict.fromkeys((*mine, *theirs)):
            if mine.get(name) != theirs.get(name) or self.found.get(name) != other.found.get(name):
                return name
        return None

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
    desired = read_desired(file, there.path)
    unknown = sorted({*replace} - desired.names)
    if unknown:
        raise SpecificationError(
            f"'{unknown[0]}' cannot be replaced: '{path}' does not list it",
            cause=f"it lists {', '.join(sorted(desired.names)) or 'nothing'}",
            next_step="name one of those",
        )
    blank = RepositoryPlan(
        file=file, repository=there, desired=desired, found={}, plan=Plan(), prune=prune, replace=tuple(replace)
    )
    return blank.again()
