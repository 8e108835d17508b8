# SPDX-License-Identifier: Apache-2.0
"""What the rules have to say about a change that they had not to say before."""

__all__ = ["beyond", "excused", "new_findings"]

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Diagnostic, Report
from repo_tool.rules.fixes import Drafts
from repo_tool.workflows.settings import read_settings
from repo_tool.workflows.validate_repository import validate_repository


def new_findings(repository: ModelRepository, name: str, drafts: Drafts) -> list[Diagnostic]:
    """What the rules find with ``drafts`` in the model and in those that name it, and did not find before."""
    settings = read_settings(repository.path)
    models = [name, *_that_name(repository, name)]
    before = validate_repository(repository, settings, models=models).report
    after = validate_repository(repository, settings, models=models, drafts=drafts).report
    return [*beyond(after, before), *_newly_hidden(after, before)]


def beyond(after: Report, before: Report) -> list[Diagnostic]:
    """The diagnostics of ``after`` that ``before`` has not; where it has fewer of a code, all of that code."""
    known = {_identity(each) for each in before.diagnostics}
    counted = Counter((each.code, each.model) for each in before.diagnostics)
    more = Counter((each.code, each.model) for each in after.diagnostics)
    return [
        each
        for each in after.diagnostics
        if _identity(each) not in known and more[each.code, each.model] > counted[each.code, each.model]
    ]


def excused(report: Report) -> Counter[tuple[str, str]]:
    """By code and model, how many diagnostics a comment suppresses."""
    hidden = (each for each in report.suppressed if _is_excused(each))
    return Counter((each.code, each.model) for each in hidden)


def _newly_hidden(after: Report, before: Report) -> Iterator[Diagnostic]:
    """What counted before, and what a comment suppresses now that was about something else."""
    hidden = excused(after) - excused(before)
    gone = Counter((each.code, each.model) for each in before.diagnostics)
    gone.subtract((each.code, each.model) for each in after.diagnostics)
    for each in after.suppressed:
        if _is_excused(each) and (hidden & gone)[each.code, each.model]:
            cause = "a comment in the file would come to suppress it"
            yield replace(each, suppression=None, cause=cause, fix="move or remove that comment first")


def _is_excused(diagnostic: Diagnostic) -> bool:
    return diagnostic.suppression is not None and diagnostic.suppression.is_in_source


def _identity(diagnostic: Diagnostic) -> tuple[str, ...]:
    return diagnostic.code, diagnostic.model, diagnostic.path, diagnostic.field, diagnostic.message


def _that_name(repository: ModelRepository, name: str) -> list[str]:
    """The models whose configuration has ``name`` in it: ensembles that it may be a step of."""
    found = []
    for model in repository.models():
        try:
            text = model.config_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if model.name != name and name in text:
            found.append(model.name)
    return found
