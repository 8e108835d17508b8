# SPDX-License-Identifier: Apache-2.0
"""All rules in order, and what they find in a repository."""

__all__ = ["RULES", "find_rule", "validate"]

import difflib
from collections.abc import Collection, Iterator
from itertools import chain

from repo_tool.errors import UserMistakeError
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import (
    config_rules,
    ensemble_rules,
    instance_rules,
    parameter_rules,
    release_rules,
    repository_rules,
    scheduling_rules,
    security_rules,
    serving_rules,
    signature_rules,
    tensor_rules,
    warmup_rules,
)
from repo_tool.rules.diagnostics import Diagnostic
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
)
_FAMILIES = (repository_rules, *_CONFIG, signature_rules, ensemble_rules, release_rules, security_rules)

# Every rule, family by family, in the order in which its module writes them.
RULES: tuple[Rule, ...] = tuple(
    value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Rule)
)


def validate(
    repository: ModelRepository,
    *,
    release: Release,
    models: Collection[str] | None = None,
    rules: Collection[Rule] = RULES,
    beside: ModelRepository | None = None,
) -> list[Diagnostic]:
    """What the rules find, model by model; nothing is written, loaded or started.

    ``models`` limits the report, not what ensembles may refer to. ``beside`` is a second repository that is served
    together with this one: ensembles may refer to its models, and nothing is said about them.

    Raises:
        RepositoryError: the repository is no folder.
    """
    subject = RepositorySubject(repository, release, beside)
    found = [diagnostic for rule in rules if rule.scope is Scope.REPOSITORY for diagnostic in rule.run(subject)]
    wanted = (model for model in subject.own_models() if models is None or model.name in models)
    return found + list(chain.from_iterable(_about(model, rules) for model in wanted))


def _about(model: ModelSubject, rules: Collection[Rule]) -> Iterator[Diagnostic]:
    scopes = {Scope.DIRECTORY} if model.config_error is not None else {Scope.DIRECTORY, Scope.CONFIG}
    for rule in rules:
        if rule.scope in scopes:
            yield from rule.run(model)


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
