# SPDX-License-Identifier: Apache-2.0
"""Check a repository by the rules and, when asked, by a real Triton."""

__all__ = ["Validated", "explanations", "served_together", "validate_repositories", "validate_repository"]

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.errors import RepositoryError, UserMistakeError
from repo_tool.releases import DEFAULT_RELEASE, Release
from repo_tool.releases import release as find_release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Report, Rule, examine, select_rules
from repo_tool.rules.fixes import Drafts
from repo_tool.rules.joining import joined
from repo_tool.rules.subjects import RepositorySubject
from repo_tool.workflows.settings import ValidateSettings

if TYPE_CHECKING:
    from repo_tool.config.explain import ModelExplanation
    from repo_tool.workflows.live_verdicts import LiveVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What the rules found and, where a server was asked, what it said."""

    report: Report
    rules: tuple[Rule, ...]
    is_strict: bool = False
    verdicts: "tuple[LiveVerdict, ...] | None" = None  # None: no server was asked
    evidence: Mapping[str, Path] = field(default_factory=dict)  # by model: a file to attach to a report of ours

    @property
    def is_failed(self) -> bool:
        """Whether anything counts against the repository, or the rules against the server."""
        is_found = any(True for _ in self.report.findings(strict=self.is_strict))
        return is_found or any(_is_bad(verdict) for verdict in self.verdicts or ())


def _is_bad(verdict: "LiveVerdict") -> bool:
    is_refused = bool(verdict.refusal or verdict.refusal_together) and not verdict.is_embedded_limit
    return verdict.is_disagreement or is_refused


def validate_repository(
    repository: ModelRepository,
    settings: ValidateSettings,
    *,
    models: Collection[str] | None = None,
    live: bool = False,
    drafts: Drafts | None = None,
) -> Validated:
    """What is wrong with ``repository``, or with ``models`` of it; ``live`` also loads them into the embedded Triton.

    With ``drafts`` the rules look at what the repository is to become; a server never does.

    Raises:
        RepositoryError: it is no folder, or has no such model.
        UserMistakeError: there is no such rule or release.
    """
    return validate_repositories([repository], settings, models=models, live=live, drafts=drafts)


def validate_repositories(
    repositories: Sequence[ModelRepository],
    settings: ValidateSettings,
    *,
    models: Collection[str] | None = None,
    live: bool = False,
    drafts: Drafts | None = None,
) -> Validated:
    """The same for several that one server is given, as ``served_together`` makes them; ``models`` may be in any.

    Raises:
        RepositoryError: one is no folder, or none has such a model.
        UserMistakeError: there is no such rule or release.
    """
    releases = [find_release(name) for name in dict.fromkeys(settings.releases or (DEFAULT_RELEASE,))]
    rules = select_rules(settings.select, settings.ignore)
    reports = {
        str(repository.path): examine(
            repository,
            releases=releases,
            models=chosen,
            rules=rules,
            model_ignores=settings.model_ignores,
            drafts=drafts,
        )
        for repository, chosen in _chosen(repositories, models)
    }
    validated = Validated(report=joined(reports), rules=rules, is_strict=settings.strict)
    if not live:
        return validated
    asked = {repository: reports[str(repository.path)].models for repository in repositories}
    verdicts, evidence = _asked(asked, releases)
    return replace(validated, verdicts=verdicts, evidence=evidence)


def _chosen(
    repositories: Sequence[ModelRepository], models: Collection[str] | None
) -> Iterator[tuple[ModelRepository, Collection[str] | None]]:
    """Each repository with those of ``models`` that it has; a single one is asked for all of them."""
    if models is None or len(repositories) == 1:
        yield from ((repository, models) for repository in repositories)
        return
    names = {repository: {directory.name for directory in repository.models()} for repository in repositories}
    there = set().union(*names.values())
    for name in models:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=3, cutoff=0.6)
            raise RepositoryError(
                f"no model '{name}' in {' or '.join(repr(str(repository.path)) for repository in repositories)}",
                cause=f"they hold {len(there)} models, and none is called so",
                next_step=f"did you mean {', '.join(near)}?" if near else "check the name and the repositories' paths",
            )
    yield from ((repository, names[repository].intersection(models)) for repository in repositories)


def served_together(paths: Sequence[Path]) -> tuple[ModelRepository, ...]:
    """The repositories at ``paths``, each with all others beside it.

    Raises:
        RepositoryError: one is no folder.
        UserMistakeError: one is given twice.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        ModelRepository(path).require()
        if twin := seen.get(path.resolve()):
            raise UserMistakeError(
                f"the repository '{path}' is given twice",
                cause=f"it is '{twin}'",
                next_step="leave one of them out",
            )
        seen[path.resolve()] = path
    return tuple(
        ModelRepository(path, beside=tuple(ModelRepository(other) for other in paths if other is not path))
        for path in paths
    )


def _asked(
    models: Mapping[ModelRepository, Collection[str]], releases: Sequence[Release]
) -> "tuple[tuple[LiveVerdict, ...], dict[str, Path]]":
    """The server's verdicts beside those of every rule, chosen or not, and a file for each disagreement."""
    from repo_tool.workflows.live_verdicts import live_verdicts, verdicts_together, write_disagreement

    reports = [examine(repository, releases=releases) for repository in models]
    found = [each for report in reports for each in (*report.diagnostics, *report.suppressed)]
    alone = [
        replace(verdict, repository=str(repository.path) if len(models) > 1 else "")
        for repository, names in models.items()
        for verdict in live_verdicts(repository, found, releases=releases, models=names)
    ]
    some = next(iter(models))
    verdicts = tuple(verdicts_together(some, alone, releases=releases))
    evidence = {
        verdict.model: write_disagreement(some, verdict, found, releases=releases)
        for verdict in verdicts
        if verdict.is_disagreement
    }
    return verdicts, evidence


def explanations(repository: ModelRepository, models: Collection[str]) -> "Iterator[ModelExplanation]":
    """What a client sends to each model and gets; models whose configuration cannot be read are left out."""
    from repo_tool.config.explain import explain

    subject = RepositorySubject(repository, find_release())
    for name in (each for each in subject.own_names if each in models):
        model = subject.models[name]
        if model.config_error is None:
            yield explain(model.config, name=name)
