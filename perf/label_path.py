# SPDX-License-Identifier: Apache-2.0
"""Whether ``Gather`` beats the ``ArrayFeatureExtractor`` with which skl2onnx picks labels and columns, in one run.

Both graphs of a model take turns in one process, on one thread, and have to answer alike. A ratio above 1 says that
the graph with ``Gather`` is the faster one.

Example: python perf/label_path.py
"""

import argparse
import json
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from repo_tool.bench.machine import describe_machine
from repo_tool.cli.console import console

RESULTS = Path(__file__).resolve().parent / "results"
_ROWS = (1, 32, 1024)
_ROWS_A_TURN = 400
_OPSETS = {"": 18, "ai.onnx.ml": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Microseconds of a call, the median over the turns."""

    model: str
    rows: int
    extractor_us: float
    gather_us: float

    @property
    def ratio(self) -> float:
        """How many times as long the extractor takes."""
        return self.extractor_us / self.gather_us

    @property
    def line(self) -> str:
        """Its line in the table."""
        return f"| {self.model} | {self.rows} | {self.extractor_us:.1f} | {self.gather_us:.1f} | {self.ratio:.2f} |"


def _fitted() -> Iterator[tuple[str, Any, Any]]:
    """Classifiers whose graphs hold an extractor, by name, with rows."""
    from sklearn.datasets import load_digits
    from sklearn.feature_selection import SelectKBest
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    rows, classes = load_digits(return_X_y=True)
    for estimator in (
        GaussianNB(),
        SGDClassifier(random_state=0),
        MLPClassifier(random_state=0, max_iter=20),
        SVC(),
        KNeighborsClassifier(),
        make_pipeline(SelectKBest(k=40), LogisticRegression(max_iter=50)),
    ):
        for targets, kind in ((classes, "int64"), (classes.astype(str), "text")):
            name = " → ".join(type(step).__name__ for _, step in getattr(estimator, "steps", [("", estimator)]))
            yield f"{name}, {kind}", estimator.fit(rows[:500], targets[:500]), rows.astype(np.float32)


def _converted(estimator: Any, columns: int) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    wanted = {"initial_types": [("features", FloatTensorType([None, columns]))], "target_opset": _OPSETS}
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return convert_sklearn(estimator, **wanted, options={id(last): {"zipmap": False}})


def _with_gathers(model: Any) -> Any:
    """The same graph with a ``Gather`` of the last dimension for each extractor."""
    model = deepcopy(model)
    constants = {constant.name: constant for constant in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes += _gathering(model, node, constants) if node.op_type == "ArrayFeatureExtractor" else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _gathering(model: Any, node: Any, constants: dict[str, Any]) -> list[Any]:
    from onnx import helper, numpy_helper

    (values, places), output = node.input, node.output[0]
    is_vector = values in constants and len(constants[values].dims) == 1
    shape = [1, -1] if is_vector else [-1]  # an extractor gives a vector's values a dimension in front
    flat = f"{output}_places"
    if places in constants:
        wanted = numpy_helper.to_array(constants[places]).reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array(wanted, flat))
        return [helper.make_node("Gather", [values, flat], [output], axis=-1)]
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), f"{flat}_shape"))
    return [
        helper.make_node("Reshape", [places, f"{flat}_shape"], [flat]),
        helper.make_node("Gather", [values, flat], [output], axis=-1),
    ]


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(rounds: int) -> Iterator[Row]:
    """Every model with every number of rows.

    Raises:
        SystemExit: the two graphs of a model answer differently.
    """
    for name, estimator, table in _fitted():
        model = _converted(estimator, table.shape[1])
        sessions = _session(model), _session(_with_gathers(model))
        for rows in _ROWS:
            feed = {"features": np.resize(table, (rows, table.shape[1]))}
            answers = [session.run(None, feed) for session in sessions]
            if not all(map(np.array_equal, *answers)):
                raise SystemExit(f"{name} answers differently with Gather")
            extractor, gather = _in_turns(sessions, feed, rounds, calls=max(1, _ROWS_A_TURN // rows))
            yield Row(model=name, rows=rows, extractor_us=extractor, gather_us=gather)


def _in_turns(sessions: tuple[Any, Any], feed: dict[str, Any], rounds: int, *, calls: int) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for session, times in zip(sessions, taken, strict=True):
            started = perf_counter()
            for _ in range(calls):
                session.run(None, feed)
            times.append((perf_counter() - started) / calls * 1e6)
    return median(taken[0]), median(taken[1])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--into", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    machine = describe_machine()
    rows = list(measure(options.rounds))
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    values = {"taken": taken, "machine": asdict(machine), "rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}
    overall = median(row.ratio for row in rows)
    lines = [
        "# ArrayFeatureExtractor beside Gather",
        "",
        f"Medians of {options.rounds} turns in one process, {taken[:10]}. Written by `python perf/label_path.py`; both",
        "graphs answer alike. A ratio above 1 would speak for rewriting what skl2onnx makes.",
        f"{machine.summary()}.",
        "",
        f"Median ratio: {overall:.2f}.",
        "",
        "| model, labels | rows | extractor, µs | Gather, µs | ratio |",
        "|---|---|---|---|---|",
        *(row.line for row in rows),
    ]
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "label_path.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (options.into / "label_path.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    console().print("\n".join(lines), markup=False)


if __name__ == "__main__":
    main()
