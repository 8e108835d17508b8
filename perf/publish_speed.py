# SPDX-License-Identifier: Apache-2.0
"""What a publication costs beside the copy of the model's file, in one run.

Three take turns on one disk: a copy of the file that is brought to the disk; add-model, of which the worker's copy of
the file counts, and all that is left to do once Triton's answers are proven; and a publication of the same file with
no proof at all, so that nothing else is done while its digest is computed.

Example: python perf/publish_speed.py --folder /var/tmp
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

from memory import write_model

from repo_tool.bench.machine import describe_machine
from repo_tool.cli.console import console
from repo_tool.importers.graphs import files
from repo_tool.repository.integrity import marks_of
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.repository.settling import Settling
from repo_tool.workflows.add_model import add_model
from repo_tool.workflows.add_model_values import AddModelRequest
from repo_tool.workflows.progress import RecordedProgress, Step

RESULTS = Path(__file__).resolve().parent / "results"
LIMIT = 1.3
_CONFIG = 'name: "large"\nbackend: "onnxruntime"\nversion_policy { latest { num_versions: 1 } }\n'
_EXPLANATION = """
Copy: `shutil.copyfile` and fsync. Taken: the copy as add-model's worker makes it, inside the kernel and without fsync.
Left: from the proof to the end of add-model's last step. Ratio: taken and left, beside the copy. Alone: the same where
nothing is proven.

Of each byte: the worker reads and writes it once; add-model reads it once for its sha256 and brings it to the disk,
both while Triton loads the model and answers. Recording and publishing compare files' times and read nothing. The
worker, which runs what a model brings, computes no digest: nobody could believe it. So without a proof, which takes
longer than a sha256 as a rule, that comes after the copy, and takes as long as the copy and the disk together.
Not counted is what the sha256 takes from Triton meanwhile where cores are scarce.
"""


class _Stopwatch(RecordedProgress):
    """Knows when each step was over."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        with super().step(title) as step:
            yield step
        self.ends[title] = perf_counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Seconds of each, one after the other."""

    copy_s: float
    taken_s: float
    left_s: float
    command_s: float
    alone_s: float

    @property
    def ratio(self) -> float:
        """How many times as long as the copy add-model has for the bytes."""
        return (self.taken_s + self.left_s) / self.copy_s

    @property
    def ratio_alone(self) -> float:
        """The same where nothing is proven."""
        return self.alone_s / self.copy_s

    @property
    def line(self) -> str:
        """Its line in the table."""
        seconds = (self.copy_s, self.taken_s, self.left_s, self.command_s)
        return f"| {' | '.join(f'{each:.2f} s' for each in seconds)} | {self.ratio:.2f} | {self.ratio_alone:.2f} |"


def _timed(work: Callable[[], None]) -> float:
    """Seconds, on a disk that has nothing else to do for us."""
    os.sync()
    started = perf_counter()
    work()
    return perf_counter() - started


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    for path in (target, target.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _publish_alone(file: files.OnnxFile, repository: ModelRepository) -> None:
    with staging(repository) as stage, Settling() as settling:
        directory = stage.repository.model("large")
        folder = directory.version_path(1)
        folder.mkdir(parents=True)
        files.publish(file, None, folder)
        settling.settle(folder)
        directory.config_path.write_text(_CONFIG)
        settling.finish()
        digested = marks_of(folder)
        facts = {"model": "large", "files": digests_of(folder, known=settling.known)}
        write_provenance(directory.provenance_path(1), facts)
        publish([StagedModel(directory=directory, version=1, digested=digested)], repository)


def _copy_as_worker(file: files.OnnxFile, folder: Path) -> None:
    folder.mkdir()
    files.publish(file, None, folder)


def _round(source: Path, room: Path) -> Round:
    """Everything once, in a ``room`` that is empty afterwards."""
    file, watch = files.read_file(source / "model.onnx"), _Stopwatch()
    models = ModelRepository(room / "models")
    request = AddModelRequest(source=str(file.path), name="large", repository=models.path, sample=source / "sample.npz")
    room.mkdir()
    found = Round(
        copy_s=_timed(lambda: _copy(source / "weights.bin", room / "copy")),
        taken_s=_timed(lambda: _copy_as_worker(file, room / "taken")),
        alone_s=_timed(lambda: _publish_alone(file, ModelRepository(room / "alone"))),
        command_s=_timed(lambda: add_model(request, watch) and None),
        left_s=watch.ends["publish"] - watch.ends["verify on Triton"],
    )
    shutil.rmtree(room)
    return found


def _measured(folder: Path, source: Path, rounds: int) -> list[Round]:
    """A round that does not count, then ``rounds``."""
    found = []
    for _ in range(rounds + 1):
        found.append(_round(source, folder / "room"))
        console().print(found[-1].line, markup=False)
    return found[1:]


def _spread(ratios: Sequence[float]) -> str:
    return f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def _markdown(rounds: Sequence[Round], mebibytes: int, machine: str, day: str) -> str:
    ratios = [each.ratio for each in rounds]
    verdict = "kept" if median(ratios) <= LIMIT else "MISSED"
    lines = [
        "# What a publication costs beside a copy",
        "",
        f"{machine}; {day}. One file of {mebibytes:,} MiB, {len(rounds)} rounds in which all take turns.",
        "Written by `perf/publish_speed.py`.",
        *_EXPLANATION.splitlines(),
        "",
        "| copy | taken | left | add-model | ratio | alone |",
        "|---:|---:|---:|---:|---:|---:|",
        *(each.line for each in rounds),
        "",
        f"Median ratio: {_spread(ratios)}; at most {LIMIT} is wanted: {verdict}.",
        f"Alone: {_spread([each.ratio_alone for each in rounds])}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine, day = describe_machine(), f"{datetime.now(UTC):%Y-%m-%d}"
    with tempfile.TemporaryDirectory(prefix="repo-tool-publish-", dir=options.folder) as name:
        source = Path(name) / "source"
        source.mkdir()
        write_model(source, "Gather", options.mebibytes / 1024)
        rounds = _measured(Path(name), source, options.rounds)
    summary = f"{machine.summary()}; load {machine.load_average:g} before"
    (RESULTS / "publish_speed.md").write_text(_markdown(rounds, options.mebibytes, summary, day), encoding="utf-8")
    facts = {"machine": asdict(machine), "day": day, "mebibytes": options.mebibytes, "limit": LIMIT}
    told = [asdict(each) | {"ratio": each.ratio, "ratio_alone": each.ratio_alone} for each in rounds]
    (RESULTS / "publish_speed.json").write_text(
        json.dumps({**facts, "rounds": told}, indent=2) + "\n", encoding="utf-8"
    )
    console().print((RESULTS / "publish_speed.md").read_text(encoding="utf-8"), markup=False)
    return int(median(each.ratio for each in rounds) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
