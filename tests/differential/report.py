# SPDX-License-Identifier: Apache-2.0
"""The report of a run, as a page and as data."""

import json
from pathlib import Path

from differential.comparison import AGREE, FALSE_ALARM, MISS, NO_VERDICT
from differential.generator import WEIGHTS
from repo_tool.rules import find_rule

_ABOUT = {
    "valid": "a configuration over all fields that should load",
    "field": "the same, with one to four fields changed: removed, doubled, swapped, at the edge of their type",
    "text": "the same, with words of the text swapped, doubled, cut, misspelt",
    "file": "the same, with versions, model files, labels, warm-up data or config.pbtxt itself moved, emptied or gone",
    "ensemble": "a random graph of one to six steps over a pool of 42 models",
    "ensemble edge": "the same, with edges, names, types, shapes, versions or batch sizes changed",
    "neighbour": "a bad or good case of a rule, with a number or a field changed",
    "onnx": "a random ONNX file and its configuration, with fields changed, in the embedded onnxruntime backend",
    "measured": "a case measured on NVIDIA's onnxruntime backend, with a field changed",
}
_BOUNDS = """\
* The server is the embedded Triton 2.51 (24.10), one for each job, started again only when a case ends it, without automatic
  completion of configurations, on a machine without a GPU. Every case is loaded and unloaded under a fresh name.
* Backends: `native`, and the names tensorrt, pytorch, tensorflow, openvino, fil and dali, are one small library in C that
  looks for the model file of the backend whose name it bears and accepts all else. What those real backends check in
  their files and parameters is not compared (SIG2 and CFG607, and CFG114 where the code they share fails); what Triton's core makes of their names is. `onnxruntime` is repo-tool's own backend, whose
  verdicts are held to NVIDIA's by other tests; `python` is Triton's own.
* A case counts as foreseen when a rule that says of itself that the embedded server refuses such a model speaks of the
  model or of one that it is loaded with. Errors that are about other machines (SEC, and releases that lack a backend)
  say of themselves that this server loads it; they are counted on their own.
* "No verdict": the server lacks the backend or the `runtime` that is named, or the feature (the embedded onnxruntime backend
  has no ragged inputs, batch inputs or state), and says so. A variant in `configs/` is another configuration, and what the
  rules say of it does not count.
* Instance counts above 1,000 (above 4 for backends that start a process for each) are not generated: how many threads and
  processes a machine bears is no verdict on a configuration. Links to large folders are not either: Triton walks them for minutes.
* No rule was mended by what the seed of this page finds before this run; the seeds 1, 7 and 9 were for that.
* The end of the server counts as a refusal. One that no rule foresaw is tried again alone in a new server, and the second
  verdict counts.
"""


def write_report(tally, base, *, facts):
    """Write ``base``.md and ``base``.json."""
    data = facts | tally.to_dict()
    base = Path(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    base.with_suffix(".md").write_text(page(data), encoding="utf-8", errors="backslashreplace")


def page(data):
    """The report as Markdown."""
    parts = [_head(data), _by_generator(data), _disagreements(data), _by_rule(data), _refusals(data)]
    return "\n".join([*parts, "## What is compared, and what is not", "", _BOUNDS])


def _head(data):
    refused = data["compared"] - data["outcomes"].get("loads", 0)
    return f"""# The rules against Triton, on configurations made by machine

`make differential N={data["cases"]} SEED={data["seed"]}`: every case is validated without loading anything, then loaded by
a real Triton, and the two verdicts are compared. Run on {data["date"]}, {data["seconds"]:,} s, {data["cores"]} cores shared
with other work; the compiler for the stand-in backends was {"there" if data["is_native"] else "missing"}.

| | |
|---|---|
| cases | {data["cases"]:,} |
| agreement | **{data["agreement"]:.2%}** of the {data["compared"]:,} with a verdict |
| Triton loaded / refused | {data["outcomes"].get("loads", 0):,} / {refused:,} |
| false alarms (a rule refuses, Triton loads) | {data["false_alarms"]}, of them {data["false_alarms_at_error"]} at level error |
| misses (no rule speaks, Triton refuses) | {data["misses"]} |
| cases that ended the server | {data["outcomes"].get("crashes", 0)}, and {data["outcomes"].get("hangs", 0)} that hung it |
| ended it once and not again, alone | {data["ended_once_only"]} |
| no verdict | {data["no_verdict"]} |
"""


def _by_generator(data):
    lines = [
        "## By generator",
        "",
        "| generator | what it makes | cases | agree | false alarms | misses |",
        "|---|---|---|---|---|---|",
    ]
    for name in WEIGHTS:
        counts = data["generators"].get(name, {})
        compared = sum(counts.values()) - counts.get(NO_VERDICT, 0)
        share = f"{counts.get(AGREE, 0) / compared:.2%}" if compared else "-"
        lines.append(
            f"| {name} | {_ABOUT[name]} | {sum(counts.values()):,} | {share} | {counts.get(FALSE_ALARM, 0)} | {counts.get(MISS, 0)} |"
        )
    return "\n".join([*lines, ""])


def _by_rule(data):
    lines = [
        "## By rule",
        "",
        "How often a rule foresaw a refusal, how often it was right, and how often it was the only one that did.",
        "",
        "| rule | | foreseen | right | alone | false alarms |",
        "|---|---|---|---|---|---|",
    ]
    for code, counts in data["rules"].items():
        lines.append(
            f"| {code} | {find_rule(code).title} | {counts.get('foreseen', 0):,} | {counts.get(AGREE, 0):,} "
            f"| {counts.get('alone', 0):,} | {counts.get(FALSE_ALARM, 0)} |"
        )
    elsewhere = ", ".join(f"{code} {count}" for code, count in sorted(data["errors_elsewhere"].items()))
    return "\n".join(
        [
            *lines,
            "",
            f"Errors about other machines, on models that this server loaded as they say: {elsewhere or 'none'}.",
            "",
        ]
    )


def _refusals(data):
    lines = [
        "## What Triton refused",
        "",
        "Its words, with names and numbers left out; and the rules that foresaw them.",
        "",
        "| Triton | cases | rules |",
        "|---|---|---|",
    ]
    ranked = sorted(data["refusals"].items(), key=lambda item: (-item[1]["cases"], item[0]))
    for words, counts in ranked:
        rules = ", ".join(sorted((code for code in counts if code != "cases"), key=lambda code: -counts[code])[:4])
        lines.append(f"| {words.replace('|', ' ')} | {counts['cases']:,} | {rules} |")
    return "\n".join([*lines, ""])


def _disagreements(data):
    lines = ["## Disagreements", ""]
    if not data["disagreements"]:
        return "\n".join([*lines, "None.", ""])
    lines += ["| case | | rules | Triton | reason |", "|---|---|---|---|---|"]
    for each in data["disagreements"]:
        words = (each["words"] or each["outcome"]).replace("|", " ").replace("\n", " ")[:160]
        lines.append(
            f"| {each['case']} | {each['kind']} ({each['generator']}) | {', '.join(each['codes']) or '-'} | {words} "
            f"| {each['reason'] or 'not looked into yet'} |"
        )
    return "\n".join([*lines, ""])
