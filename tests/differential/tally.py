# SPDX-License-Identifier: Apache-2.0
"""What a run found, counted as it goes, so that ten thousand cases need not be held."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from differential.comparison import AGREE, FALSE_ALARM, MISS, NO_VERDICT, without_places
from differential.server import CRASHES, HANGS
from repo_tool.rules.render_page import known_disagreements


def reason_known(comparison):
    """Why this disagreement stays; "" when nobody knows it."""
    for entry in known_disagreements():
        spoke = {message.split(maxsplit=1)[0] for message in comparison.messages}
        if comparison.verdict.loads and set(entry.codes).issuperset(comparison.codes):
            return entry.reason
        if not comparison.verdict.loads and spoke.intersection(entry.codes):
            return entry.reason
    return ""


@dataclass
class Tally:
    """Counts of one run."""

    kinds: Counter = field(default_factory=Counter)
    outcomes: Counter = field(default_factory=Counter)
    generators: dict = field(default_factory=lambda: defaultdict(Counter))
    rules: dict = field(default_factory=lambda: defaultdict(Counter))
    refusals: dict = field(default_factory=lambda: defaultdict(Counter))  # Triton's words -> rules that foresaw them
    disagreements: list = field(default_factory=list)
    flaky: int = 0
    false_errors: int = 0
    elsewhere: Counter = field(default_factory=Counter)

    def add(self, found):
        """Count one comparison."""
        self.kinds[found.kind] += 1
        self.outcomes[found.verdict.outcome] += 1
        self.generators[found.case.generator][found.kind] += 1
        self.flaky += bool(found.flaky)
        self.false_errors += found.is_false_error
        self._count_rules(found)
        if found.kind in (MISS, FALSE_ALARM):
            self.disagreements.append(_described(found))

    def merge(self, other):
        """Count what another tally counted."""
        for mine, theirs in (
            (self.kinds, other.kinds),
            (self.outcomes, other.outcomes),
            (self.elsewhere, other.elsewhere),
        ):
            mine.update(theirs)
        for name in ("generators", "rules", "refusals"):
            for key, counts in getattr(other, name).items():
                getattr(self, name)[key].update(counts)
        self.disagreements += other.disagreements
        self.flaky += other.flaky
        self.false_errors += other.false_errors

    def _count_rules(self, found):
        for code in found.codes:
            self.rules[code]["foreseen"] += 1
            self.rules[code][found.kind] += 1
            self.rules[code]["alone"] += found.kind == AGREE and len(found.codes) == 1
        if found.verdict.loads:
            self.elsewhere.update(found.elsewhere)
            return
        words = f"(the server {found.verdict.outcome})" if found.verdict.outcome in (CRASHES, HANGS) else found.words
        self.refusals[words].update(found.codes or ["(no rule)"])
        self.refusals[words]["cases"] += 1

    @property
    def compared(self):
        """The cases on which the server had a verdict."""
        return sum(self.kinds.values()) - self.kinds[NO_VERDICT]

    @property
    def agreement(self):
        """The share of cases on which both agree."""
        return self.kinds[AGREE] / self.compared if self.compared else 1.0

    def to_dict(self):
        """As plain values."""
        return {
            "cases": sum(self.kinds.values()),
            "compared": self.compared,
            "agreement": self.agreement,
            "false_alarms": self.kinds[FALSE_ALARM],
            "false_alarms_at_error": self.false_errors,
            "misses": self.kinds[MISS],
            "no_verdict": self.kinds[NO_VERDICT],
            "outcomes": dict(self.outcomes),
            "ended_once_only": self.flaky,
            "generators": {name: dict(self.generators[name]) for name in sorted(self.generators)},
            "rules": {code: dict(self.rules[code]) for code in sorted(self.rules)},
            "errors_elsewhere": dict(self.elsewhere),
            "refusals": {words: dict(self.refusals[words]) for words in sorted(self.refusals)},
            "disagreements": self.disagreements,
        }


def _described(found):
    return {
        "case": found.number,
        "kind": found.kind,
        "generator": found.case.generator,
        "history": list(found.case.history),
        "codes": list(found.codes),
        "outcome": found.verdict.outcome,
        "words": without_places(found.verdict.words)[:500] if found.verdict.outcome not in (CRASHES, HANGS) else "",
        "reason": reason_known(found),
    }
