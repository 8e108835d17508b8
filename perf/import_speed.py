# SPDX-License-Identifier: Apache-2.0
"""What ``add-model`` costs beside the conversion library alone, for each framework, in one run.

Bare is a fresh Python that loads the model, calls the converter as its documentation does, and saves the file. Where
no library converts, it is the least that a person could do instead: for XGBoost, whose trees repo-tool writes itself,
its importer in process; for ONNX, which nothing converts and no limit is set for, to check, run and save the model.
Bare and ``add-model``, each in a process of its own, take turns, so that both meet the same machine. The limit is twice
the bare time, plus the server check: what ``add-model`` waits for Triton, which starts beside the conversion, to load
the model and answer.

Example: python perf/import_speed.py --rounds 3
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from repo_tool.bench.machine import Machine, describe_machine
from repo_tool.cli.console import console

RESULTS = Path(__file__).resolve().parent / "results"
_MOST = 2.0  # times the bare conversion
_UNCONVERTED = ("ONNX",)

MAKE = """
import numpy as np, joblib, torch, keras, xgboost
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
rows, classes = load_digits(return_X_y=True)
rows = (rows / 16).astype(np.float32)
np.save("rows.npy", rows[:64])
joblib.dump(RandomForestClassifier(100, random_state=0).fit(rows, classes), "forest.joblib")
xgboost.XGBClassifier(n_estimators=100, n_jobs=2).fit(rows, classes).save_model("trees.ubj")
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)).eval()
batch = torch.export.Dim("batch")
exported = torch.export.export(net, (torch.ones(4, 64),), dynamic_shapes=({0: batch},))
torch.export.save(exported, "net.pt2")
torch.onnx.export(exported, dynamo=True).save("net.onnx")
keras.utils.set_random_seed(0)
keras.Sequential([keras.Input((64,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(10)]).save("net.keras")
"""

BARE = {
    "scikit-learn": (
        "forest.joblib",
        """
import joblib
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
model = joblib.load("forest.joblib")
options = {id(model): {"zipmap": False}}
converted = convert_sklearn(model, initial_types=[("features", FloatTensorType([None, 64]))], options=options)
open("bare.onnx", "wb").write(converted.SerializeToString())
""",
    ),
    "XGBoost": (
        "trees.ubj",
        """
import tempfile
from pathlib import Path
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.xgboost import XgboostImporter
request = ImportRequest(source="trees.ubj", max_opset=21, max_ir_version=10)
XgboostImporter().bring_in(request, None, Path(tempfile.mkdtemp(dir=".")))
""",
    ),
    "PyTorch": (
        "net.pt2",
        """
import torch
torch.onnx.export(torch.export.load("net.pt2"), dynamo=True).save("bare.onnx")
""",
    ),
    "Keras": (
        "net.keras",
        """
import keras, tensorflow as tf, tf2onnx
model = keras.saving.load_model("net.keras")
function = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((None, 64), tf.float32)])
tf2onnx.convert.from_function(function, input_signature=function.input_signature, output_path="bare.onnx")
""",
    ),
    "ONNX": (
        "net.onnx",
        """
import numpy as np, onnx, onnxruntime
onnx.checker.check_model("net.onnx", full_check=True)
session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: np.load("rows.npy")})
onnx.save(onnx.load("net.onnx"), "bare.onnx")
""",
    ),
}

ADD = """
import json, sys
from pathlib import Path
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.progress import RecordedProgress
progress = RecordedProgress()
add_model(
    AddModelRequest(source=sys.argv[1], name=sys.argv[2], sample=Path("rows.npy"), trusted_source=True), progress
)
print(json.dumps({step.title: step.seconds for step in progress.steps}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Seconds of each round, one framework."""

    framework: str
    bare_s: tuple[float, ...]
    added_s: tuple[float, ...]  # the whole of add-model
    check_s: tuple[float, ...]  # the server's part of it

    @property
    def ratio(self) -> float:
        """The median over the rounds of add-model without the server check, in bare conversions."""
        rounds = zip(self.added_s, self.check_s, self.bare_s, strict=True)
        return median((added - check) / bare for added, check, bare in rounds)

    @property
    def cells(self) -> str:
        """The rest of its line in the table."""
        times = [f"{median(seconds):.2f} s" for seconds in (self.bare_s, self.added_s, self.check_s)]
        return " | ".join([*times, f"{self.ratio:.2f}", self.verdict])

    @property
    def verdict(self) -> str:
        """Whether it keeps the limit; empty where nothing is converted, and so nothing to be a multiple of."""
        if self.framework in _UNCONVERTED:
            return ""
        return "kept" if self.ratio <= _MOST else "BROKEN"


def _timed(code: str, *arguments: str, folder: Path) -> tuple[float, str]:
    started = perf_counter()
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr or f"ended with {done.returncode}")
    return perf_counter() - started, done.stdout


def measure(framework: str, folder: Path, rounds: int) -> Row:
    """Bare and add-model in turns."""
    source, code = BARE[framework]
    bare, added, check = [], [], []
    for turn in range(rounds):
        bare.append(_timed(code, folder=folder)[0])
        seconds, said = _timed(ADD, source, f"{framework.replace('-', '_')}_{turn}", folder=folder)
        added.append(seconds)
        check.append(json.loads(said.splitlines()[-1])["verify on Triton"])
    return Row(framework=framework, bare_s=tuple(bare), added_s=tuple(added), check_s=tuple(check))


def write(rows: list[Row], machine: Machine, into: Path) -> None:
    """The table and every round."""
    into.mkdir(parents=True, exist_ok=True)
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    values: dict[str, Any] = {
        "taken": taken,
        "machine": asdict(machine),
        "rows": [asdict(row) | {"ratio": row.ratio, "verdict": row.verdict} for row in rows],
    }
    (into / "import_speed.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    lines = [
        "# add-model beside the conversion alone",
        "",
        f"Medians of {len(rows[0].bare_s)} rounds in turns, {taken[:10]}. Written by `python perf/import_speed.py`;",
        f"the limit is {_MOST:g} times the bare conversion, the server check apart. {machine.summary()},",
        f"load {machine.load_average:.1f} when it began.",
        "",
        "| framework | bare conversion | add-model | of which server check | without it, in bare conversions | limit |",
        "|---|---|---|---|---|---|",
        *(f"| {row.framework} | {row.cells} |" for row in rows),
    ]
    (into / "import_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Make the models, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--into", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        _timed(MAKE, folder=Path(folder))
        rows = [measure(framework, Path(folder), options.rounds) for framework in BARE]
    write(rows, machine, options.into)
    console().print((options.into / "import_speed.md").read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main()
