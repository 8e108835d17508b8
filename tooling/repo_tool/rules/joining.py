# SPDX-License-Identifier: Apache-2.0
"""The reports of several repositories as one."""

__all__ = ["joined", "with_whole_paths"]

from collections.abc import Callable, Mapping
from dataclasses import replace

from repo_tool.rules.diagnostics import Diagnostic, Report
from repo_tool.rules.shown_paths import shown_path


def joined(reports: Mapping[str, Report]) -> Report:
    """What was found in all of them, each diagnostic with the repository's name; the only one stays as it is."""
    if len(reports) == 1:
        return next(iter(reports.values()))
    named = {name: _named(report, name) for name, report in reports.items()}
    return Report(
        models=tuple(model for report in named.values() for model in report.models),
        releases=next(iter(named.values())).releases,
        diagnostics=tuple(found for report in named.values() for found in report.diagnostics),
        suppressed=tuple(found for report in named.values() for found in report.suppressed),
        seconds=sum(report.seconds for report in named.values()),
        repositories=tuple(named),
    )


def with_whole_paths(report: Report, folders: Mapping[str, str]) -> Report:
    """The paths with their repository in front, as ``folders`` shows each of them."""
    return _each(report, lambda found: replace(found, path=shown_path(folders[found.repository], found.path)))


def _named(report: Report, name: str) -> Report:
    return _each(report, lambda found: replace(found, repository=name))


def _each(report: Report, change: Callable[[Diagnostic], Diagnostic]) -> Report:
    return replace(
        report,
        diagnostics=tuple(map(change, report.diagnostics)),
        suppressed=tuple(map(change, report.suppressed)),
    )
