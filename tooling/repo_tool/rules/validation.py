# SPDX-License-Identifier: Apache-2.0
"""All rules in order, and what they find in a repository."""

__all__ = ["RULES", "examine", "find_rule", "select_rules", "validate"]

import difflib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from repo_tool.errors import RepositoryError, UserMistakeError
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import (
    backend_rules,
    company_rules,
    config_rules,
    ensemble_rules,
    framework_rules,
    graph_rules,
    instance_rules,
    optimization_rules,
    parameter_rules,
    pipeline_rules,
    release_rules,
    repository_rules,
    scheduling_rules,
    security_rules,
    sequence_rules,
    serving_rules,
    signature_rules,
    suppressions,
    tensor_rules,
    variant_rules,
    warmup_rules,
)
from repo_tool.rules.diagnostics import Diagnostic, Report
from repo_tool.rules.fixes import Drafts
from repo_tool.rules.ignoring import names_rule
from repo_tool.rules.judging import judged
from repo_tool.rules.merging import merged
from repo_tool.rules.registry import Rule, Scope
from repo_tool.rules.subjects import ModelSubject, RepositorySubject

# CFG is split by theme, in the order of the codes.
_CONFIG = (
    config_rules,
    tensor_rules,
    scheduling_rules,
    instance_rules,
    serving_rules,
    warmup_rules,
    parameter_rules,
    backend_rules,
    optimization_rules,
    sequence_rules,
    suppressions,
)
_FAMILIES = (
    repository_rules,
    variant_rules,
    company_rules,
    *_CONFIG,
    signature_rules,
    graph_rules,
    framework_rules,
    ensemble_rules,
    pipeline_rules,
    release_rules,
    security_rules,
)

# Every rule, family by family, in the order in which its module writes them.
RULES: tuple[Rule, ...] = tuple(
    value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Rule)
)
_CODES = frozenset(rule.code for rule in RULES)


def validate(
    repository: ModelRepository,
    *,
    release: Release,
    models: Collection[str] | None = None,
    rules: Collection[Rule] = RULES,
    beside: ModelRepository | None = None,
) -> list[Diagnostic]:
    """What the rules find for one release and nobody has suppressed; see ``examine``.

    Raises:
        RepositoryError: the repository is no folder.
    """
    report = examine(repository, releases=[release], models=models, rules=rules, beside=beside)
    return list(report.diagnostics)


def examine(
    repository: ModelRepository,
    *,
    releases: Sequence[Release],
    models: Collection[str] | None = None,
    rules: Collection[Rule] = RULES,
    beside: ModelRepository | None = None,
    model_ignores: Mapping[str, Collection[str]] = MappingProxyType({}),
    drafts: Drafts | None = None,
) -> Report:
    """What the rules find for any of ``releases``, model by model; nothing is written, loaded or started.

    Args:
        repository: What is looked at; the repositories beside it are served together with it under unique names.
        releases: One or more; a diagnostic says for which of them it holds.
        models: Limits the report, not what ensembles may refer to.
        rules: Those that are asked.
        beside: A further one, whose models of the same name as one here are replaced by it: ensembles may refer to
            its models, and nothing is said about them.
        model_ignores: Codes or families by a pattern of model names, e.g. ``legacy_*``, that do not count there.
        drafts: What the repository is to become, in place of what is written.

    Raises:
        RepositoryError: the repository is no folder, or has no model of those called for.
    """
    started = time.monotonic()
    subject = _subject(repository, releases[0], beside)
    if drafts is not None:
        subject.suppose(texts=drafts.texts, folders=drafts.folders)
    for name in models or ():
        _check_exists(name, subject)
    names = tuple(name for name in subject.own_names if models is None or name in models)
    views = [subject, *(subject.for_release(release) for release in releases[1:])]
    found = merged((diagnostic, view.release.name) for view in views for diagnostic in _found(view, names, rules))
    diagnostics = _all_judged(found, subject, names, rules, model_ignores)
    asked = tuple(release.name for release in releases)
    diagnostics = [each if each.releases else replace(each, releases=asked) for each in diagnostics]
    return Report(
        models=names,
        releases=asked,
        diagnostics=tuple(each for each in diagnostics if each.suppression is None),
        suppressed=tuple(each for each in diagnostics if each.suppression is not None),
        seconds=time.monotonic() - started,
    )


def _subject(repository: ModelRepository, release: Release, beside: ModelRepository | None) -> RepositorySubject:
    """The repository with all that its ensembles may refer to."""
    subject = RepositorySubject(repository, release, beside)
    for other in repository.beside:
        further = (directory for directory in other.models() if directory.name not in subject.models)
        subject.models |= {directory.name: ModelSubject(directory, subject) for directory in further}
    return subject


def _all_judged(
    found: Sequence[Diagnostic],
    subject: RepositorySubject,
    names: Collection[str],
    rules: Collection[Rule],
    model_ignores: Mapping[str, Collection[str]],
) -> list[Diagnostic]:
    """Those about the repository, then those of each model and its variants in reading order, placed and suppressed."""
    by_model: dict[str, list[Diagnostic]] = {}
    for diagnostic in found:
        by_model.setdefault(diagnostic.model, []).append(diagnostic)
    diagnostics = by_model.pop("", [])
    for name in names:
        about = by_model.get(name, [])
        for model in (*subject.models[name].variants(), subject.models[name]):  # the model itself takes the rest
            path = f"{name}/{model.config_file}"
            own = [each for each in about if each.path == path] if model.variant else about
            about = [each for each in about if each.path != path] if model.variant else []
            kept = judged(own, model, rules=rules, known=_CODES, ignores=model_ignores)
            diagnostics += sorted(kept, key=_in_reading_order)
    return diagnostics


def _check_exists(name: str, subject: RepositorySubject) -> None:
    if name in subject.own_names:
        return
    near = difflib.get_close_matches(name, subject.own_names, n=3, cutoff=0.6)
    raise RepositoryError(
        f"no model '{name}' in '{subject.repository.path}'",
        cause=f"the repository holds {len(subject.own_names)} models, and none is called so",
        next_step=f"did you mean {', '.join(near)}?" if near else "check the name and the repository's path",
    )


def _found(subject: RepositorySubject, names: Collection[str], rules: Collection[Rule]) -> Iterator[Diagnostic]:
    for rule in rules:
        if rule.scope is Scope.REPOSITORY:
            yield from rule.run(subject)
    for name in names:
        yield from _about(subject.models[name], rules)


def _about(model: ModelSubject, rules: Collection[Rule]) -> Iterator[Diagnostic]:
    found = dict.fromkeys(_by(model, rules, Scope.DIRECTORY, Scope.TEXT, Scope.CONFIG))
    yield from found
    for variant in model.variants():
        yield from (each for each in _by(variant, rules, Scope.TEXT, Scope.CONFIG) if each not in found)


def _by(model: ModelSubject, rules: Collection[Rule], *scopes: Scope) -> Iterator[Diagnostic]:
    asked = set(scopes) if model.config_error is None else {*scopes} - {Scope.CONFIG}
    for rule in rules:
        if rule.scope in asked:
            yield from rule.run(model)


def _in_reading_order(diagnostic: Diagnostic) -> tuple[str, int, int]:
    return diagnostic.path, diagnostic.line or 0, diagnostic.column or 0


def select_rules(select: Collection[str] = (), ignore: Collection[str] = ()) -> tuple[Rule, ...]:
    """The rules of ``select`` (none: all) without those of ``ignore``; both name codes or families, e.g. SIG.

    Raises:
        UserMistakeError: there is no such rule.
    """
    families = {rule.code[:3] for rule in RULES}
    for code in (*select, *ignore):
        if code.upper() not in families:
            find_rule(code)  # says which codes are near
    chosen = (rule for rule in RULES if not select or names_rule(rule.code, select))
    return tuple(rule for rule in chosen if not names_rule(rule.code, ignore))


def find_rule(code: str) -> Rule:
    """The rule with a code, in any case of letters.

    Raises:
        UserMistakeError: there is none; the message lists those that are near.
    """
    known = {rule.code: rule for rule in RULES}
    if rule := known.get(code.upper()):
        return rule
    near = difflib.get_close_matches(code.upper(), known, n=4, cutoff=0.6)
    raise UserMistakeError(
        f"there is no rule {code!r}",
        cause=f"the {len(known)} rules belong to the families REP, CFG, SIG, ENS, REL and SEC",
        next_step=f"did you mean {', '.join(sorted(near))}?" if near else "list them: repo-tool rule --list",
    )
