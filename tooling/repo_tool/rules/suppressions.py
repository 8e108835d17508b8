# SPDX-License-Identifier: Apache-2.0
"""Comments in ``config.pbtxt`` that say of a diagnostic why it does not count.

``# repo-tool: allow CFG104 because <reason>`` on a line of its own is about the field below it, at the end of a line
about the fields of that line. ``allow-model`` is about the whole model, wherever it stands.
"""

__all__ = ["NEVER_ALLOWED", "allows_nothing", "not_understood", "suppressed"]

import difflib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from repo_tool.config.places import Place, Places, Span
from repo_tool.config.syntax import Comment, words_to_repo_tool
from repo_tool.rules.diagnostics import Diagnostic, Finding, Region, Severity, Suppression
from repo_tool.rules.registry import Scope, rule
from repo_tool.rules.subjects import ModelSubject

_ALLOW = re.compile(
    r"allow(?P<model>-model)?\s+(?P<codes>[A-Za-z0-9]{1,20}(?:\s*,\s*[A-Za-z0-9]{1,20})*)(?:\s+because\b(?P<reason>.*))?\s*",
    re.IGNORECASE,
)
_FORM = "# repo-tool: allow CFG104 because <reason>"

# What a file cannot excuse: that it is no configuration, or that its comments say nothing.
NEVER_ALLOWED = frozenset({"CFG101", "CFG901", "CFG902", "REP101"})


@rule("CFG901", severity=Severity.WARNING, scope=Scope.DIRECTORY)
def not_understood(_model: ModelSubject) -> Iterable[Finding]:
    """A comment to repo-tool must name rules that a comment can suppress, and a reason.

    What it would allow counts as before: a suppression whose reason nobody knows is one that nobody dares to remove. No
    comment suppresses that the file is no configuration (CFG101, REP101), and in such a file none suppresses anything.

    Wrong::

        max_batch_size: 8  # repo-tool: allow CFG104

    Right::

        max_batch_size: 8  # repo-tool: allow CFG104 because the batcher is switched on by the platform team
    """
    return ()  # ``suppressed`` finds it


@rule("CFG902", severity=Severity.WARNING, scope=Scope.DIRECTORY)
def allows_nothing(_model: ModelSubject) -> Iterable[Finding]:
    """A comment that suppresses nothing should go.

    Either what it allowed is mended, or the comment stands at the wrong place: on a line of its own it is about the
    field below it, at the end of a line about that line's fields. What is found in the whole model, or in its other
    files, ``allow-model`` suppresses.

    Wrong::

        # repo-tool: allow CFG501 because clients of the old release send it
        backend: "onnxruntime"

    Right::

        backend: "onnxruntime"
    """
    return ()  # ``suppressed`` finds it, which knows all that was found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A field that a comment is about: with all in it, or, of a repeated one, only as a whole."""

    path: str
    is_exact: bool = False

    def covers(self, place: Place | None) -> bool:
        if place is None:
            return False
        if place.path == self.path:
            return True
        return not self.is_exact and place.path.startswith((f"{self.path}.", f"{self.path}["))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Allowance:
    """One comment that allows something; ``targets`` is None where it is about the whole model."""

    codes: tuple[str, ...]
    reason: str
    comment: Comment
    targets: tuple[_Target, ...] | None


def suppressed(
    diagnostics: Sequence[Diagnostic],
    text: str,
    places: Places,
    *,
    model: str,
    known: Collection[str],
    asked: Collection[str],
) -> tuple[list[Diagnostic], list[Diagnostic], list[Diagnostic]]:
    """The diagnostics of a model that count, those that its comments suppress, and what is wrong with the comments.

    Args:
        diagnostics: Those of one model.
        text: Its ``config.pbtxt``.
        places: Those of ``text``.
        model: Its name.
        known: The codes that there are.
        asked: The codes of which it is sure that they would have been found, were there anything to suppress.
    """
    if "repo-tool" not in text:
        return list(diagnostics), [], []
    allowances, complaints = _read(places, model=model, known=known)
    by_code: dict[str, list[_Allowance]] = defaultdict(list)
    for each in allowances:
        for code in each.codes:
            by_code[code].append(each)
    kept: list[Diagnostic] = []
    hidden: list[Diagnostic] = []
    used: set[tuple[Span, str]] = set()
    for diagnostic in diagnostics:
        place = places.find(diagnostic.field) if _is_about_config(diagnostic) else None
        allowance = next((each for each in by_code[diagnostic.code] if _covers(each, place)), None)
        if allowance is None:
            kept.append(diagnostic)
            continue
        used.add((allowance.comment.span, diagnostic.code))
        hidden.append(replace(diagnostic, suppression=Suppression(reason=allowance.reason, is_in_source=True)))
    complaints += _unused(allowances, used, asked=asked, model=model)
    return kept, hidden, complaints


def _is_about_config(diagnostic: Diagnostic) -> bool:
    return diagnostic.path.endswith(".pbtxt") and bool(diagnostic.field)


def _covers(allowance: _Allowance, place: Place | None) -> bool:
    return allowance.targets is None or any(target.covers(place) for target in allowance.targets)


def _unused(
    allowances: Iterable[_Allowance], used: Collection[tuple[Span, str]], *, asked: Collection[str], model: str
) -> Iterator[Diagnostic]:
    for allowance in allowances:
        for code in allowance.codes:
            if (allowance.comment.span, code) not in used and code in asked:
                where = "in this model" if allowance.targets is None else _named(allowance.targets)
                yield _complaint(
                    allows_nothing.code,
                    model,
                    allowance.comment,
                    Finding(
                        f"the comment allows {code}, which is not found {where}",
                        cause="what it allowed is mended, or it stands at the wrong place",
                        fix="remove it, move it in front of the field that it is about, or write allow-model",
                    ),
                )


def _named(targets: Sequence[_Target]) -> str:
    paths = [target.path for target in targets if not target.is_exact]
    names = [path for path in paths if not any(path.startswith((f"{other}.", f"{other}[")) for other in paths)]
    return f"at {', '.join(names)}" if names else "there, where no field follows"


def _read(places: Places, *, model: str, known: Collection[str]) -> tuple[list[_Allowance], list[Diagnostic]]:
    """The comments that count, and complaints about those that do not."""
    surroundings = _Surroundings(places)
    allowances: list[_Allowance] = []
    complaints: list[Diagnostic] = []
    for comment in places.written_comments:
        words = words_to_repo_tool(comment.text)
        if words is None:
            continue
        allowed = _ALLOW.fullmatch(words)
        if finding := _fault(allowed, known):
            complaints.append(_complaint(not_understood.code, model, comment, finding))
        elif allowed is not None:
            allowances.append(
                _Allowance(
                    codes=tuple(dict.fromkeys(_codes(allowed))),
                    reason=(allowed["reason"] or "").strip(),
                    comment=comment,
                    targets=None if allowed["model"] else tuple(surroundings.targets(comment)),
                )
            )
    return allowances, complaints


def _codes(allowed: re.Match[str]) -> list[str]:
    return [code.strip().upper() for code in allowed["codes"].split(",")]


def _fault(allowed: re.Match[str] | None, known: Collection[str]) -> Finding | None:
    """Why a comment does not count."""
    if allowed is None:
        cause = "comments that begin with 'repo-tool:' say which rule does not count, and why"
        return Finding("repo-tool does not understand this comment", cause=cause, fix=f"write {_FORM}")
    codes = _codes(allowed)
    for code in codes:
        if code not in known:
            near = difflib.get_close_matches(code, known, n=3, cutoff=0.6)
            hint = f"did you mean {', '.join(sorted(near))}?" if near else "list them: repo-tool rule --list"
            return Finding(f"the comment allows {code}, which is no rule", cause="it suppresses nothing", fix=hint)
        if code in NEVER_ALLOWED:
            return Finding(
                f"the comment allows {code}, which no comment can",
                cause="a file cannot excuse that it is no configuration, nor what its comments lack",
                fix=f"mend what {code} finds, and remove the comment",
            )
    if not (allowed["reason"] or "").strip():
        return Finding(
            f"the comment allows {', '.join(codes)} without a reason, so that it does not count",
            cause="whoever reads the file next must know whether the reason still holds",
            fix=f"write {_FORM.replace('CFG104', ', '.join(codes))}",
        )
    return None


def _complaint(code: str, model: str, comment: Comment, finding: Finding) -> Diagnostic:
    span = comment.span
    return Diagnostic(
        code=code,
        severity=Severity.WARNING,
        model=model,
        path=f"{model}/config.pbtxt",
        field="",
        message=finding.message,
        cause=finding.cause,
        fix=finding.fix,
        region=Region(line=span.line, column=span.column, end_line=span.end_line, end_column=span.end_column),
    )


class _Surroundings:
    """What stands around a comment, found without looking at every field for each."""

    def __init__(self, places: Places) -> None:
        self._fields = places.fields
        self._starts = [place.start for place in places.fields]
        self._ends = sorted(place.end for place in places.fields)
        self._beginning: dict[int, list[Place]] = defaultdict(list)
        self._ending: dict[int, list[Place]] = defaultdict(list)
        for place in places.fields:
            self._beginning[place.line].append(place)
            self._ending[place.end_line].append(place)

    def targets(self, comment: Comment) -> Iterator[_Target]:
        """What a comment is about."""
        if comment.is_trailing:
            return _aimed(self._on_line(comment.span.line))
        place = bisect_right(self._starts, comment.span.start)
        if place == len(self._fields):
            return iter(())
        below = self._fields[place]
        ends_before = self._ends[bisect_right(self._ends, comment.span.start)] <= below.start
        if ends_before:  # the message that the comment stands in
            return iter(())
        return _aimed(other for other in self._beginning[below.line] if other.span == below.span)

    def _on_line(self, line: int) -> list[Place]:
        """The fields that a line holds whole; else those that begin on it; else those that end on it."""
        beginning = self._beginning[line]
        whole = [place for place in beginning if place.end_line == line]
        return whole or beginning or self._ending[line]


def _aimed(places: Iterable[Place]) -> Iterator[_Target]:
    """Targets; a repeated field as a whole that is written value by value is meant only where it is spoken of so."""
    found = list(places)
    for place in found:
        is_whole = any(other.span == place.span and other.path.startswith(f"{place.path}[") for other in found)
        yield _Target(path=place.path, is_exact=is_whole)
