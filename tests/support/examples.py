# SPDX-License-Identifier: Apache-2.0
"""An example as a person runs it: train, add its models and its pipeline, serve, and ask it about every test row."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repo_client import Client
from repo_tool.triton.server import EmbeddedServer
from support.command import environment, repo_tool

ROOT = Path(__file__).parents[2] / "examples"
MODELS = "models"


@dataclass(frozen=True)
class ServedExample:
    """A pipeline that is served, and what its training script answered."""

    folder: Path
    client: Client
    pipeline: str
    max_batch_size: int

    @property
    def answers(self) -> list[dict[str, Any]]:
        """``test.json``: a row of the test set each."""
        rows: list[dict[str, Any]] = json.loads((self.folder / "test.json").read_text(encoding="utf-8"))
        return rows

    def ask(self, tensor: str, rows: Sequence[bytes]) -> dict[str, np.ndarray]:
        """What it answers to all rows, in batches as large as it takes."""
        model, size = self.client.model(self.pipeline), self.max_batch_size
        parts = [self._infer(model, tensor, rows[start : start + size]) for start in range(0, len(rows), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def ask_one(self, tensor: str, row: bytes) -> dict[str, np.ndarray]:
        """What it answers to a row alone."""
        return self._infer(self.client.model(self.pipeline), tensor, [row])

    def _infer(self, model: Any, tensor: str, rows: Sequence[bytes]) -> dict[str, np.ndarray]:
        array = np.empty((len(rows), 1), dtype=object)
        array[:, 0] = list(rows)
        return dict(model.infer({tensor: array}))


def train(name: str, folder: Path) -> None:
    """Run the example's training script into ``folder``."""
    command = [sys.executable, str(ROOT / name / "train.py"), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def add(folder: Path, models: Mapping[str, Sequence[str]], sample: str, reference: str | None = None) -> dict[str, Any]:
    """Add its models, the source and what follows ``add-model`` by name, and its pipeline; what that one told.

    ``reference`` is an example, to whose ``train.py:preprocess`` the pipeline is held.
    """
    for model, arguments in models.items():
        run_in(folder, "add-model", *arguments, "--name", model, "--cores", "1")
    held = () if reference is None else ("--reference", f"{ROOT / reference / 'train.py'}:preprocess")
    told: dict[str, Any] = json.loads(
        run_in(folder, "add-pipeline", "pipeline.yaml", "--sample", sample, *held, "--json")
    )
    return told


def run_in(folder: Path, *arguments: str) -> str:
    """A command that succeeds, on the example's own repository; what it printed."""
    done = repo_tool(*arguments, "--repository", MODELS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(folder: Path, told: Mapping[str, Any]) -> Iterator[ServedExample]:
    """The example's repository, served by Triton."""
    with EmbeddedServer(folder / MODELS) as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        with Client(f"grpc://{server.grpc_url}") as client:
            yield ServedExample(folder, client, told["models"][-1], told["max_batch_size"])


def words(array: np.ndarray) -> list[str]:
    """BYTES [rows, 1] as texts."""
    return [value.decode() for value in array[:, 0]]
