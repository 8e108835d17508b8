# SPDX-License-Identifier: Apache-2.0
"""Check a repository by the rules and, when asked, by a real Triton."""

__all__ = ["Validated", "explanations", "validate_repository"]

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool.config.explain import ModelExplanation, explain
from repo_tool.releases import DEFAULT_RELEASE, Release
from repo_tool.releases import release as find_release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Report, Rule, examine, select_rules
from repo_tool.rules.fixes import Drafts
from repo_tool.rules.subjects import RepositorySubject
from repo_tool.workflows.settings import ValidateSettings

if TYPE_CHECKING:
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
    releases = [find_release(name) for name in dict.fromkeys(settings.releases or (DEFAULT_RELEASE,))]
    rules = select_rules(settings.select, settings.ignore)
    ignores = settings.model_ignores
    report = examine(repository, releases=releases, models=models, rules=rules, model_ignores=ignores, drafts=drafts)
    if not live:
        return Validated(report=report, rules=rules, is_strict=settings.strict)
    verdicts, evidence = _asked(repository, report.models, release=releases[0])
    return Validated(report=report, rules=rules, is_strict=settings.strict, verdicts=verdicts, evidence=evidence)


def _asked(
    repository: ModelRepository, models: tuple[str, ...], *, release: Release
) -> "tuple[tuple[LiveVerdict, ...], dict[str, Path]]":
    """The server's verdicts beside those of every rule, chosen or not, and a file for each disagreement."""
    from repo_tool.workflows.live_verdicts import live_verdicts, verdicts_together, write_disagreement

    everything = examine(repository, releases=[release])
    found = [*everything.diagnostics, *everything.suppressed]
    alone = list(live_verdicts(repository, found, release=release, models=models))
    verdicts = tuple(verdicts_together(repository, alone, release=release))
    evidence = {
        verdict.model: write_disagreement(repository, verdict, found, release=release)
        for verdict in verdicts
        if verdict.is_disagreement
    }
    return verdicts, evidence


def explanations(repository: ModelRepository, models: Collection[str]) -> Iterator[ModelExplanation]:
    """What a client sends to each model and gets; models whose configuration cannot be read are left out."""
    subject = RepositorySubject(repository, find_release())
    for name in models:
        model = subject.models[name]
        if model.config_error is None:
            yield explain(model.config, name=name)
