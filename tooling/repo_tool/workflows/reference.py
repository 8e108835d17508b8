# SPDX-License-Identifier: Apache-2.0
"""The preprocessing of the training code, asked for each raw row in a process of its own.

The function is called by keyword with the pipeline's inputs, one row of each: a scalar where the dims are [1] (bytes,
text or a JSON object for BYTES, by the annotation of the parameter or else as the sample held it), an array otherwise.
It answers an array, which is the input of the pipeline's model, or a dict of arrays by the names of wires.
"""

__all__ = ["Reference", "ReferenceAnswers", "ask_reference", "find_reference"]

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from repo_tool.environment import without_credentials
from repo_tool.errors import PipelineError, error_from_dict
from repo_tool.importers.foreign import refusing
from repo_tool.importers.python_source import find_module
from repo_tool.repository.provenance import digest_of, digest_of_bytes
from repo_tool.samples import Array, Sample, read_published_sample, write_published_sample
from repo_tool.sandbox import memory_limit
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.source_digests import digest_of_source

ROWS_A_FILE = 32
MODEL_INPUT = ""  # the name of the answer that is no dict
_POLL_S, _LOG_BYTES = 0.1, 2**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A function of the training code, and the folder from which its module is imported."""

    source: str  # as the person wrote it
    file: Path
    module: str
    function: str
    root: Path

    @property
    def digest(self) -> str:
        """Of the function's name, its file, and what this imports of the files beside it."""
        code = digest_of_source(f"{self.module}:{self.function}", self.root) or digest_of(self.file)
        return digest_of_bytes(f"{code}\0{self.function}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceAnswers:
    """What the function gave, in files that are read some rows at a time."""

    wires: tuple[str, ...]  # `MODEL_INPUT` alone, where it gave no dict
    rows: int
    folder: Path

    def __iter__(self) -> Iterator[tuple[int, list[dict[str, Array]]]]:
        """The number of the first row, and some rows' arrays by wire."""
        for start in range(0, self.rows, ROWS_A_FILE):
            with refusing(f"the answers of the reference at row {start} do not read", next_step="run it again"):
                stored = read_published_sample(self.folder / f"rows-{start}.npz").outputs
            count = min(ROWS_A_FILE, self.rows - start)
            yield start, [{wire: stored[f"{row}/{wire}"] for wire in self.wires} for row in range(count)]


def find_reference(source: str) -> Reference:
    """The function named as ``package.module:function`` or ``path/file.py:function``; nothing is imported.

    Raises:
        PipelineError: there is no such file or module.
    """
    place, _, function = source.rpartition(":")
    if not place or not function.isidentifier():
        raise PipelineError(
            f"'{source}' does not name a function",
            cause="it is written package.module:function, or file.py:function",
            next_step="e.g. --reference train.py:preprocess",
        )
    if place.endswith(".py"):
        return _in_file(source, Path(place), function)
    path = find_module(place)
    if path is None:
        raise PipelineError(
            f"there is no Python module '{place}'",
            cause="neither in this folder nor installed, as a file",
            next_step="run the command in the folder that holds it, or name its file: path/file.py:function",
        )
    depth = len(place.split(".")) + (path.name == "__init__.py")
    return Reference(source=source, file=path, module=place, function=function, root=path.resolve().parents[depth - 1])


def _in_file(source: str, path: Path, function: str) -> Reference:
    if not path.is_file():
        raise PipelineError(f"there is no file '{path}'", next_step="check the path given to --reference")
    found = path.resolve()
    return Reference(source=source, file=path, module=found.stem, function=function, root=found.parent)


def ask_reference(
    reference: Reference,
    rows: PipelineRows,
    folder: Path,
    *,
    told: Callable[[int], None] = lambda rows: None,
    timeout_s: float = 1800,
) -> ReferenceAnswers:
    """Call the function for each row in a walled process; ``folder`` must be empty and holds the answers afterwards.

    Args:
        reference: the function.
        rows: what it is called with.
        folder: where its process may write.
        told: is told how many rows are done.
        timeout_s: for all rows together.

    Raises:
        PipelineError: it cannot be imported, fails on a row, gives no arrays, dies or takes too long.
    """
    job = {
        "module": reference.module,
        "function": reference.function,
        "source": reference.source,
        "file": str(reference.file.resolve()),
        "root": str(reference.root),
        "forms": dict(rows.forms),
        "rows": rows.count,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    write_published_sample(folder / "sample.npz", Sample(inputs=rows.inputs))
    with TemporaryFile() as log:
        status = _run_worker(reference, folder, log, told, timeout_s)
        answer = _read_answer(folder)
        if answer is None:
            raise _died(reference, status, log, folder)
    return ReferenceAnswers(wires=tuple(answer["wires"]), rows=rows.count, folder=folder)


def _run_worker(
    reference: Reference, folder: Path, log: IO[bytes], told: Callable[[int], None], timeout_s: float
) -> int:
    # -P: a file in the caller's folder called like a package must not shadow it.
    command = [sys.executable, "-P", "-m", "repo_tool.workflows._reference_worker", str(os.getpid()), str(folder)]
    command += [str(memory_limit()), str(int(timeout_s * (os.cpu_count() or 1)) + 1)]
    worker = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return _wait(worker, folder / "done", told, timeout_s)
    except subprocess.TimeoutExpired as error:
        raise PipelineError(
            f"'{reference.source}' took longer than {timeout_s:g} s",
            next_step="try fewer rows first, to see whether it hangs",
        ) from error
    finally:
        with suppress(ProcessLookupError):  # the group also holds what the function may have started
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _wait(worker: subprocess.Popen[bytes], done: Path, told: Callable[[int], None], timeout_s: float) -> int:
    for _ in range(int(timeout_s / _POLL_S)):
        with suppress(subprocess.TimeoutExpired):
            return worker.wait(_POLL_S)
        told(done.stat().st_size if done.exists() else 0)
    return worker.wait(0)


def _environment(folder: Path) -> dict[str, str]:
    caches = folder / "caches"
    caches.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    moved = dict.fromkeys(("TMPDIR", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "KERAS_HOME"), str(caches))
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return without_credentials(os.environ) | kept | moved | offline


def _read_answer(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "answer.json"
    if not path.is_file():
        return None
    with refusing("the process of the reference left no answer that reads", next_step="run it again"):
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        error = error_from_dict(answer["error"]) if "error" in answer else None
    if error is not None:
        raise error
    return answer


def _died(reference: Reference, status: int, log: IO[bytes], folder: Path) -> PipelineError:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    printed = "\n".join(f"  {line}" for line in log.read().decode(errors="replace").splitlines()[-8:])
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    done = (folder / "done").stat().st_size if (folder / "done").exists() else 0
    return PipelineError(
        f"the process of '{reference.source}' died at row {done}",
        cause=f"it ended with {ended}; the last it printed:\n{printed}" if printed else f"it ended with {ended}",
        next_step="call the function with that row in Python yourself",
    )
