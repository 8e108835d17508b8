# SPDX-License-Identifier: Apache-2.0
"""Run the whole zoo and write ``docs/coverage.md``: ``python -m support.zoo_run`` with ``tests`` on the path.

Each family runs in processes of its own, a few models each, so that memory comes back and a crash costs one model.
Every outcome is a line in ``.repo-tool/coverage.jsonl``; a run that was interrupted goes on behind the last one.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from rich.progress import Progress

from repo_tool.bench.machine import describe_machine
from support.zoo import Outcome, ZooCase, run_case, to_json
from support.zoo_page import draw, page

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "tests" / "zoo"
LOG = ROOT / ".repo-tool" / "coverage.jsonl"
PAGE = ROOT / "docs" / "coverage.md"
BATCH = 12
BATCH_TIMEOUT_S = 1800


def load(name: str) -> ModuleType:
    """A module of the zoo by its file's stem."""
    spec = importlib.util.spec_from_file_location(name, ZOO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def families() -> list[str]:
    """The stems of the zoo's modules."""
    return sorted(path.stem for path in ZOO.glob("*_zoo.py"))


def key(family: str, name: str) -> str:
    """What an outcome is remembered by."""
    return f"{family}/{name}"


def read_log() -> dict[str, Outcome]:
    """The outcomes so far; a model that was run twice counts as it came out last."""
    lines = LOG.read_text(encoding="utf-8").splitlines() if LOG.is_file() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines if line.strip()]
    return {key(outcome.family, outcome.name): outcome for outcome in outcomes}


# --- in a worker process ---------------------------------------------------------------------------------------------


def run_batch(module: str, keys: Sequence[str]) -> None:
    """Print one JSON line before and one after each of the cases; two families of a module may have one of a name."""
    cases = {key(case.family, case.name): case for case in load(module).cases()}
    for case in (cases[each] for each in keys):
        print(json.dumps({"started": case.name, "family": case.family}), flush=True)
        print(to_json(_outcome(case)), flush=True)


def _outcome(case: ZooCase) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="repo-tool-zoo-") as folder:
        try:
            return run_case(case, Path(folder))
        except Exception as error:  # noqa: BLE001 - a sweep reports whatever happens to one model and goes on
            return Outcome(
                family=case.family, name=case.name, reason=f"{type(error).__name__}: {error}"[:400], is_bug=True
            )


# --- in the runner ---------------------------------------------------------------------------------------------------


def run_in_process(module: str, keys: Sequence[str]) -> Iterator[Outcome]:
    """The outcomes of a batch; of one whose process died, up to the case it died in."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "support.zoo_run", "--module", module, "--cases", *keys]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=BATCH_TIMEOUT_S, check=False
    )
    started: dict[str, str] | None = None
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        values = json.loads(line)
        if "started" in values:
            started = values
            continue
        started = None
        yield Outcome(**values)
    if started is not None:
        died = f"the process died: {done.returncode}"
        yield Outcome(family=started["family"], name=started["started"], reason=died, is_bug=True)
    elif done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])


def run_all(modules: Sequence[str], *, again: bool, jobs: int) -> None:
    """Run what the log lacks (or everything), a batch at a time."""
    known = {} if again else read_log()
    LOG.parent.mkdir(exist_ok=True)
    with Progress() as progress, LOG.open("a", encoding="utf-8") as log:
        for module in modules:
            keys = [key(case.family, case.name) for case in load(module).cases()]
            wanted = [each for each in keys if each not in known]
            task = progress.add_task(module, total=len(wanted))
            for outcome in _run_module(module, wanted, jobs=jobs):
                log.write(to_json(outcome) + "\n")
                log.flush()
                progress.advance(task)


def _run_module(module: str, keys: Sequence[str], *, jobs: int) -> Iterator[Outcome]:
    """The outcomes of some of a family; what ran out of memory beside others is run once more, alone."""
    crowded = []
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for outcomes in pool.map(lambda batch: list(run_in_process(module, batch)), batches):
            yield from outcomes
            crowded += [outcome for outcome in outcomes if _ran_out_of_memory(outcome)]
    for outcome in crowded:
        yield from run_in_process(module, [key(outcome.family, outcome.name)])


def _ran_out_of_memory(outcome: Outcome) -> bool:
    """Or may have: a process that dies tells no more."""
    return not outcome.served and any(words in outcome.reason for words in ("more memory than", " died:"))


def write_page(outcomes: Sequence[Outcome]) -> None:
    """Write ``docs/coverage.md`` and its picture."""
    PAGE.write_text(page(outcomes, machine=describe_machine().summary()), encoding="utf-8")
    draw(outcomes, PAGE.with_suffix(".png"))


def main() -> None:
    """Run the zoo, or one batch of it in a worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", help="one family, by its file's stem")
    parser.add_argument("--cases", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--again", action="store_true", help="run everything, not what the log lacks")
    parser.add_argument("--page", action="store_true", help="write the page from the log and run nothing")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.cases is not None:
        run_batch(arguments.module, arguments.cases)
        return
    if not arguments.page:
        run_all([arguments.module] if arguments.module else families(), again=arguments.again, jobs=arguments.jobs)
    write_page(list(read_log().values()))
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
