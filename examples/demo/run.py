# SPDX-License-Identifier: Apache-2.0
"""The whole path on real models: train, add, serve, score the held-out rows through Triton, measure.

Run by ``make demo`` from the top of the repository. It exits with 1 if any model scores otherwise through Triton than
in its framework.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from repo_client import Client
from repo_tool.triton.server import EmbeddedServer

HERE = Path(__file__).parent
TRAINING = ("train_keras.py", "train_pytorch.py", "train_sklearn.py", "train_onnx.py")
DEMO_ENTRIES = ("1", "config.pbtxt", "labels.txt", "warmup")  # what a model of the demo consists of
SERVING_CORES = 2  # written into config.pbtxt: fixed, so that the files come out alike on every machine

console = Console()
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Model:
    """A model of the demo: where it comes from, and which of its outputs is scored."""

    name: str
    framework: str
    source: str
    output: str
    score: str = "accuracy"

    def add_command(self, folder: Path) -> list[str]:
        labels = f"{self.name}.labels.txt"
        named = ["--labels", labels] if (folder / labels).exists() else []
        return [
            *("repo-tool", "add-model", self.source, "--name", self.name),
            *("--sample", f"{self.name}.sample.npz", *named, "--cores", str(SERVING_CORES)),
        ]


MODELS = (
    Model("breast_cancer", "scikit-learn", "breast_cancer.joblib", "probabilities"),
    Model("diabetes", "scikit-learn", "diabetes.joblib", "prediction", score="R²"),
    Model("digits_cnn", "PyTorch", "digits_cnn.pt2", "output"),
    Model("digits_keras", "Keras", "digits_keras.keras", "output_0"),
    Model("wine", "ONNX", "wine.onnx", "probabilities"),
)
READER = Model("digits_reader", "ensemble", "digits_reader.yaml", "label")


@dataclass(frozen=True)
class Scored:
    """A model's score on the held-out rows in its framework and through Triton."""

    model: Model
    rows: int
    in_framework: float
    through_triton: float
    largest_difference: float


def main() -> int:
    arguments = parse_arguments()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="repo-tool-demo-") as scratch:
        folder = Path(scratch)
        train_all(folder)
        replace(arguments.repository, add_all(folder))
        with EmbeddedServer(arguments.repository) as server:
            load_all(server)
            scores = score_all(folder, server.grpc_url)
            benches = {} if arguments.no_bench else bench_all(server.grpc_url, arguments)
    show(scores, benches)
    console.print(f"repository: {arguments.repository}, in {time.monotonic() - started:.0f} s")
    console.print("next: [bold]source .venv/bin/activate[/] and [bold]repo-tool serve[/]; in another terminal")
    console.print("      [bold]repo-tool call digits_reader[/]")
    return 0 if all(score.in_framework == score.through_triton for score in scores) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--results", type=Path, default=Path("perf/results/demo"))
    parser.add_argument("--window-ms", default="400", help="of perf_analyzer")
    parser.add_argument("--no-bench", action="store_true", help="leave perf_analyzer out")
    return parser.parse_args()


def train_all(folder: Path) -> None:
    with console.status("training in four frameworks …"):
        started = time.monotonic()
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        with ThreadPoolExecutor(max_workers=2) as threads:
            runs = [
                threads.submit(run_quietly, [sys.executable, str(HERE / script), str(folder)], quiet)
                for script in TRAINING
            ]
            for run in runs:
                run.result()
    console.print(f"[green]✓[/] trained in four frameworks in {time.monotonic() - started:.1f} s")


def run_quietly(command: list[str], environment: dict[str, str]) -> str:
    """Standard output of a command; what it said is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        console.print(done.stdout + done.stderr, markup=False)
        raise SystemExit(f"{' '.join(command)} failed with exit code {done.returncode}")
    return done.stdout


def add_all(folder: Path) -> Path:
    """Add every model as a person would, in the folder where they were trained; the repository that this makes."""
    for model in MODELS:
        run_shown(model.add_command(folder), folder)
    for name in (READER.source, "digit_words.txt"):
        shutil.copyfile(HERE / name, folder / name)
    run_shown(["repo-tool", "add-pipeline", READER.source, "--sample", "digits_reader.pictures"], folder)
    return folder / "model_repository"


def run_shown(command: list[str], folder: Path) -> None:
    console.print(f"\n[bold cyan]$ {' '.join(command)}[/]", highlight=False, soft_wrap=True)
    tool = Path(sys.executable).parent / command[0]
    if subprocess.run([str(tool), *command[1:]], cwd=folder, check=False).returncode != 0:
        raise SystemExit(f"'{' '.join(command)}' failed")


def replace(repository: Path, fresh: Path) -> None:
    """Put the new models where the demo's old ones were, each by a rename; whatever else is there stays."""
    repository.mkdir(parents=True, exist_ok=True)
    models = sorted(fresh.iterdir())
    for model in models:
        if any(entry.name not in DEMO_ENTRIES for entry in sorted((repository / model.name).glob("*"))):
            raise SystemExit(f"{repository / model.name} holds more than the demo made; choose another --repository")
    for model in models:
        arriving = Path(tempfile.mkdtemp(prefix=".demo-", dir=repository.resolve().parent))
        shutil.copytree(model, arriving / "new")
        if (repository / model.name).exists():
            (repository / model.name).rename(arriving / "old")
        (arriving / "new").rename(repository / model.name)
        shutil.rmtree(arriving)


def load_all(server: EmbeddedServer) -> None:
    with console.status("loading into Triton …"):
        outcomes = server.load_all()
    for outcome in outcomes:
        if outcome.refusal is not None:
            raise SystemExit(str(outcome.refusal))
    console.print(f"\n[green]✓[/] a real Triton serves {len(outcomes)} models on grpc://{server.grpc_url}")


def score_all(folder: Path, grpc_url: str) -> list[Scored]:
    with console.status("scoring the held-out rows through Triton …"), Client(f"grpc://{grpc_url}") as client:
        return [*(score(model, folder, client) for model in MODELS), score_reader(folder, client)]


def score(model: Model, folder: Path, client: Client) -> Scored:
    with np.load(folder / f"{model.name}.test.npz") as archive:
        test = {name: archive[name] for name in archive.files}
    truth, expected = test.pop("truth"), test.pop(model.output)
    served = infer_all(client, model.name, test, model.output)
    measure = SCORES[model.score]
    return Scored(
        model=model,
        rows=len(truth),
        in_framework=measure(expected, truth),
        through_triton=measure(served, truth),
        largest_difference=float(np.abs(served - expected).max()),
    )


def score_reader(folder: Path, client: Client) -> Scored:
    """PNG files in, words out; the framework's side is the CNN's own answer to the same pictures."""
    with np.load(folder / f"{READER.name}.test.npz") as archive:
        pictures, logits, truth = archive["pictures"], archive["logits"], archive["truth"]
    encoded = np.array([[encode_png(picture)] for picture in pictures], dtype=object)
    words = [word.encode() for word in (HERE / "digit_words.txt").read_text().split()]
    served = infer_all(client, READER.name, {"image": encoded}, READER.output)
    read = np.array([words.index(word) for word in served[:, 0]])
    probability = infer_all(client, READER.name, {"image": encoded}, "probability")[:, 0]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = (exponentials / exponentials.sum(axis=1, keepdims=True)).max(axis=1)
    return Scored(
        model=READER,
        rows=len(truth),
        in_framework=accuracy(logits, truth),
        through_triton=float(np.mean(read == truth)),
        largest_difference=float(np.abs(probability - expected).max()),
    )


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    import io

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()


def infer_all(client: Client, name: str, inputs: dict[str, Array], output: str) -> Array:
    """One output for all rows, asked for in batches as large as the model takes."""
    model = client.model(name)
    size, rows = model.signature.max_batch_size, len(next(iter(inputs.values())))
    parts = [
        model.infer({key: array[start : start + size] for key, array in inputs.items()}, outputs=[output])[output]
        for start in range(0, rows, size)
    ]
    return np.concatenate(parts)


def accuracy(scores: Array, truth: Array) -> float:
    return float(np.mean(scores.argmax(axis=1) == truth))


def r_squared(prediction: Array, truth: Array) -> float:
    """Rounded to six digits: a float32 answer is compared with a float32 answer."""
    residual = np.sum((truth - prediction[:, 0].astype(np.float64)) ** 2)
    return round(float(1 - residual / np.sum((truth - truth.mean()) ** 2)), 6)


SCORES: dict[str, Callable[[Array, Array], float]] = {"accuracy": accuracy, "R²": r_squared}


def bench_all(grpc_url: str, arguments: argparse.Namespace) -> dict[str, dict]:
    results = {}
    for model in (*MODELS, READER):
        with console.status(f"measuring {model.name} with perf_analyzer …"):
            results[model.name] = bench_one(model.name, grpc_url, arguments)
    console.print(f"[green]✓[/] measured with perf_analyzer; figures and plots are in {arguments.results}")
    return results


def bench_one(name: str, grpc_url: str, arguments: argparse.Namespace) -> dict:
    tool = str(Path(sys.executable).parent / "repo-tool")
    command = [
        *(tool, "bench", name, "--server", f"grpc://{grpc_url}", "--repository", str(arguments.repository)),
        *(
            "--concurrency",
            "1,4,16",
            "--window-ms",
            arguments.window_ms,
            "--max-windows",
            "5",
            "--output",
            str(arguments.results),
            "--json",
        ),
    ]
    return json.loads(run_quietly(command, dict(os.environ)))


def show(scores: list[Scored], benches: dict[str, dict]) -> None:
    title = "Held-out rows, in the framework and through Triton"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("framework", no_wrap=True)
    for heading in ("score,\ntrained", "score,\nserved", "largest\ngap", "p50\nms", "p99\nms", "infer/s"):
        table.add_column(heading, justify="right")
    for scored in scores:
        equal = scored.in_framework == scored.through_triton
        table.add_row(
            scored.model.name,
            scored.model.framework,
            f"{scored.in_framework:.4f}",
            f"[{'green' if equal else 'bold red'}]{scored.through_triton:.4f}[/]",
            f"{scored.largest_difference:.1e}",
            *bench_cells(benches.get(scored.model.name)),
        )
    console.print("\n", table)
    rows = ", ".join(f"{scored.model.name} {scored.rows}" for scored in scores)
    console.print(f"[dim]score: accuracy, and R² of diabetes; rows: {rows}[/]")
    console.print("[dim]one row a request; p50, p99: one in flight; infer/s: the best of 1, 4, 16[/]\n")


def bench_cells(bench: dict | None) -> tuple[str, str, str]:
    if bench is None:
        return "-", "-", "-"
    levels = bench["levels"]
    alone = levels[0]
    best = max(level["throughput_per_s"] for level in levels)
    return f"{alone['p50_us'] / 1000:.2f}", f"{alone['p99_us'] / 1000:.2f}", f"{best:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
