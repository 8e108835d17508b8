# SPDX-License-Identifier: Apache-2.0
"""Which diagnostics a project has decided not to count."""

__all__ = ["ignored", "names_rule"]

from collections.abc import Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from repo_tool.rules.diagnostics import Diagnostic, Suppression


def names_rule(code: str, codes: Collection[str]) -> bool:
    """Whether ``codes``, in any case of letters, have the rule ``code`` or its family, e.g. SIG."""
    return any(named.upper() in (code, code[:3]) for named in codes)


def ignored(diagnostic: Diagnostic, model_ignores: Mapping[str, Collection[str]]) -> Diagnostic:
    """The diagnostic, suppressed where a pattern of ``model_ignores`` fits its model and names its rule."""
    for pattern, codes in model_ignores.items():
        if fnmatchcase(diagnostic.model, pattern) and names_rule(diagnostic.code, codes):
            reason = f"ignored for models called {pattern}"
            return replace(diagnostic, suppression=Suppression(reason=reason, is_in_source=False))
    return diagnostic
