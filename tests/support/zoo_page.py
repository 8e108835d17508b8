# SPDX-License-Identifier: Apache-2.0
"""``docs/coverage.md`` and its picture, from the zoo's outcomes: totals first, then reasons, then every model."""

__all__ = ["draw", "page"]

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from support.zoo import Outcome

_HEAD = """\
# What is served

Every model below was made small, added with `repo-tool add-model`, served by the embedded Triton and compared with its
framework in batches of 1, 2, 3 and the maximum. `make coverage-frameworks` runs all of it and writes this page, and
every `make test-slow` runs a sample.

![How each family's models are served](coverage.png)
"""
_SHOWN_REASON = 260
_SHOWN_NAMES = 12

# Okabe and Ito's palette, as all of our pictures.
_PARTS: Sequence[tuple[str, str, Callable[[Outcome], bool]]] = (
    ("by ONNX Runtime", "#0072B2", lambda outcome: outcome.backend == "onnxruntime"),
    ("by another backend", "#009E73", lambda outcome: outcome.served and outcome.backend != "onnxruntime"),
    ("refused, with the reason", "#E69F00", lambda outcome: not outcome.served and not outcome.is_bug),
    ("failed", "#D55E00", lambda outcome: outcome.is_bug),
)


def page(outcomes: Sequence[Outcome], *, machine: str) -> str:
    """The whole page; ``machine`` is what the times were taken on."""
    families = _by_family(outcomes)
    tables = [_family(name, of_family) for name, of_family in families.items()]
    sections = [_HEAD, _totals(families, outcomes, machine), *_reasons(outcomes), "## Every model\n", *tables]
    return "\n".join(sections)


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """One bar a family, by share: how its models are served (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = _by_family(outcomes)
    figure = Figure(figsize=(12, 0.5 * len(families) + 1.6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = [f"{name} ({len(of_family)})" for name, of_family in families.items()]
    left = [0.0] * len(families)
    for title, colour, belongs in _PARTS:
        counts = [sum(map(belongs, of_family)) for of_family in families.values()]
        shares = [100 * count / len(of_family) for count, of_family in zip(counts, families.values(), strict=True)]
        bars = axes.barh(labels, shares, left=left, color=colour, label=title)
        words = [str(count) if share >= 3 else "" for count, share in zip(counts, shares, strict=True)]
        axes.bar_label(bars, words, label_type="center", color="white")
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set(xlim=(0, 100), xlabel="% of the family's models; the figures count them")
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(_PARTS), frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _by_family(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    families: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        families[outcome.family].append(outcome)
    return {
        name: sorted(families[name], key=lambda outcome: outcome.name.lower())
        for name in sorted(families, key=str.lower)
    }


def _totals(families: Mapping[str, Sequence[Outcome]], outcomes: Sequence[Outcome], machine: str) -> str:
    rows = [_total_row(name, of_family) for name, of_family in families.items()]
    titles = " | ".join(title for title, _, _ in _PARTS)
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    return "\n".join(
        [
            f"| family | models | {titles} | served |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *rows,
            _total_row("**all**", outcomes),
            "",
            f"Times are those of `add-model`, server and all, two at once on {machine}: {minutes:.0f} minutes in sum.",
            "",
        ]
    )


def _total_row(name: str, outcomes: Sequence[Outcome]) -> str:
    counts = " | ".join(str(sum(map(belongs, outcomes))) for _, _, belongs in _PARTS)
    share = 100 * sum(outcome.served for outcome in outcomes) / len(outcomes)
    return f"| {name} | {len(outcomes)} | {counts} | {share:.1f} % |"


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    refused = [outcome for outcome in outcomes if not outcome.served]
    elsewhere = [outcome for outcome in outcomes if outcome.served and outcome.reason]
    return [
        _grouped("Not served, and why", refused),
        _grouped("Served by another backend than ONNX Runtime, and why", elsewhere),
    ]


def _grouped(title: str, outcomes: Sequence[Outcome]) -> str:
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.family, re.sub(r"'[^']*'|\[[^\]]*\]|[\d.]+(e-?\d+)?", "…", outcome.reason)[:80]].append(outcome)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0].lower(), -len(group[1]), group[0][1]))
    rows = [
        f"| {family} | {len(group)} | {_cell(group[0].reason)} | {_names(group)} |" for (family, _), group in ordered
    ]
    head = ["| family | models | reason, of the first | which |", "|---|---:|---|---|"]
    return "\n".join([f"## {title}\n", *head, *rows, ""])


def _names(group: Sequence[Outcome]) -> str:
    shown = ", ".join(outcome.name for outcome in group[:_SHOWN_NAMES]).replace("|", "\\|")
    return shown + (", …" if len(group) > _SHOWN_NAMES else "")


def _family(name: str, outcomes: Sequence[Outcome]) -> str:
    head = ["| model | served by | largest difference | seconds | reason |", "|---|---|---:|---:|---|"]
    rows = [_row(outcome) for outcome in outcomes]
    return "\n".join(
        ["<details>", f"<summary>{name}: {len(outcomes)} models</summary>\n", *head, *rows, "\n</details>\n"]
    )


def _row(outcome: Outcome) -> str:
    difference = f"{outcome.largest_difference:.1e}" if outcome.served else ""
    served_by = outcome.backend or "**not served**"
    name = outcome.name.replace("|", "\\|")
    return f"| {name} | {served_by} | {difference} | {outcome.seconds:.1f} | {_cell(outcome.reason)} |"


def _cell(reason: str) -> str:
    words = " ".join(reason.split()).replace("|", "\\|").replace("<", "&lt;")
    return words if len(words) <= _SHOWN_REASON else words[: _SHOWN_REASON - 1] + "…"
