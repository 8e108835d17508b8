# SPDX-License-Identifier: Apache-2.0
"""The findings of several releases as one list."""

__all__ = ["merged"]

from collections.abc import Iterable
from dataclasses import replace

from repo_tool.rules.diagnostics import Diagnostic

_NAME = "\0"  # stands for the release's name, and is in no text that was ever in a file


def merged(found: Iterable[tuple[Diagnostic, str]]) -> list[Diagnostic]:
    """Each diagnostic once, with the releases it was found for; those that differ in the release's name are one."""
    holding: dict[Diagnostic, list[str]] = {}
    for diagnostic, release in found:
        holding.setdefault(diagnostic, []).append(release)
    named: dict[Diagnostic, list[str]] = {}
    for diagnostic, releases in holding.items():
        distinct = list(dict.fromkeys(releases))
        key = _without_name(diagnostic, distinct[0]) if len(distinct) == 1 else diagnostic
        named.setdefault(key, []).extend(distinct)
    return [_with_names(diagnostic, releases) for diagnostic, releases in named.items()]


def _without_name(diagnostic: Diagnostic, release: str) -> Diagnostic:
    if release not in diagnostic.message:
        return diagnostic
    return replace(
        diagnostic,
        message=diagnostic.message.replace(release, _NAME),
        cause=diagnostic.cause.replace(release, _NAME),
        fix=diagnostic.fix.replace(release, _NAME),
    )


def _with_names(diagnostic: Diagnostic, releases: list[str]) -> Diagnostic:
    """With the names in their places again: ``Triton 24.10 (and 25.01) does not know …``."""
    others = f" (and {', '.join(releases[1:])})" if len(releases) > 1 else ""
    return replace(
        diagnostic,
        message=diagnostic.message.replace(_NAME, releases[0] + others, 1).replace(_NAME, releases[0]),
        cause=diagnostic.cause.replace(_NAME, releases[0]),
        fix=diagnostic.fix.replace(_NAME, releases[0]),
        releases=tuple(releases),
    )
