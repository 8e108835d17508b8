# SPDX-License-Identifier: Apache-2.0
"""``python -m differential.run --n 10000 --seed 1``: compare the rules with Triton, and write the report."""

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from differential.comparison import FALSE_ALARM, MISS, Judge
from differential.generator import WEIGHTS, a_case
from differential.native import build_stand_ins, compiler
from differential.pool import the_pool
from differential.reduction import reduced
from differential.report import write_report
from differential.tally import Tally

WANTED = 0.999


def compare_many(numbers, *, seed, folder, on_comparison=None, load_timeout_s=20.0):
    """The tally over the cases with these numbers; ``on_comparison(judge, comparison)`` hears of each."""
    folder = Path(folder)
    (folder / "backends").mkdir(parents=True)
    tally = Tally()
    with Judge(folder / "work", backends=build_stand_ins(folder / "backends"), load_timeout_s=load_timeout_s) as judge:
        for number in numbers:
            found = judge.compare(number, a_case(seed, number))
            tally.add(found)
            if on_comparison is not None:
                on_comparison(judge, found)
    return tally


def keep(folder, comparison, *, seed):
    """Write a disagreement as a repository that anybody can load, with what was said about it."""
    place = Path(folder) / f"{comparison.kind.replace(' ', '-')}-{comparison.number}"
    shutil.rmtree(place, ignore_errors=True)
    repository = place / "repository"
    repository.mkdir(parents=True)
    comparison.case.write(repository)
    for name, draft in the_pool().items():
        if any(name.encode() in text for text in comparison.case.files.values() if isinstance(text, bytes)):
            for path, content in draft.written().items():
                (repository / path).parent.mkdir(parents=True, exist_ok=True)
                if content is not None:
                    (repository / path).write_bytes(content)
    said = {
        "seed": seed,
        "case": comparison.number,
        "kind": comparison.kind,
        "model": comparison.case.target,
        "generator": comparison.case.generator,
        "history": comparison.case.history,
        "rules": comparison.codes,
        "messages": comparison.messages,
        "triton": {"outcome": comparison.verdict.outcome, "words": comparison.verdict.words},
        "again": f"PYTHONPATH=tests python -m differential.run --seed {seed} --case {comparison.number}",
    }
    (place / "disagreement.json").write_text(json.dumps(said, indent=1, default=str) + "\n")
    return place


def main(arguments=None):
    """Run, print, write; 1 when the agreement is less than wanted or an error was a false alarm."""
    options = _options(arguments)
    numbers = options.case or range(options.start, options.start + options.n)
    started = time.monotonic()
    shares = [numbers[first :: options.jobs] for first in range(options.jobs)]
    tally = Tally()
    with ProcessPoolExecutor(options.jobs) as pool:
        for part in pool.map(_compare_share, shares, [options] * options.jobs):
            tally.merge(part)
    facts = {
        "seed": options.seed,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "seconds": round(time.monotonic() - started),
        "cores": os.cpu_count(),
        "is_native": compiler() is not None,
        "weights": WEIGHTS,
    }
    if options.report:
        write_report(tally, options.report, facts=facts)
    _print(tally, seconds=facts["seconds"])
    return 0 if tally.agreement >= WANTED and not tally.false_errors else 1


def _compare_share(numbers, options):
    def hear(judge, found):
        if found.kind in (MISS, FALSE_ALARM):
            small = reduced(judge, found) if options.reduce else found
            place = keep(options.keep, small, seed=options.seed)
            print(f"{found.kind}: case {found.number}, kept in {place}", flush=True)
        elif options.case:
            print(f"{found.kind}: {found.codes} {found.verdict}")

    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        return compare_many(numbers, seed=options.seed, folder=folder, on_comparison=hear)


def _options(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="how many cases")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other cases")
    parser.add_argument("--start", type=int, default=0, help="the number of the first case")
    parser.add_argument("--case", type=int, action="append", help="only this case; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="servers at once")
    parser.add_argument("--report", help="write PATH.md and PATH.json")
    parser.add_argument("--keep", default=".repo-tool/differential", help="where disagreements are kept")
    parser.add_argument("--reduce", action=argparse.BooleanOptionalAction, default=True, help="make them small first")
    return parser.parse_args(arguments)


def _print(tally, *, seconds):
    data = tally.to_dict()
    print(f"{data['cases']} cases in {seconds} s: agreement {tally.agreement:.3%}")
    print(f"false alarms {data['false_alarms']} (at error {data['false_alarms_at_error']}), misses {data['misses']}, "
          f"no verdict {data['no_verdict']}, outcomes {data['outcomes']}")  # fmt: skip
    for name, counts in data["generators"].items():
        print(f"  {name:14} {counts}")
    for code, counts in data["rules"].items():
        print(f"  {code} {counts}")
    for each in data["disagreements"]:
        print(f"  {each['kind']} {each['case']} {each['generator']} {each['codes']} {each['words'][:120]}")


if __name__ == "__main__":
    sys.exit(main())
