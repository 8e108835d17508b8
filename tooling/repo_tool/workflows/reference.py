# SPDX-License-Identifier: Apache-2.0
"""The preprocessing of the training code, asked for each raw row in a process of its own.

The function is called by keyword with the pipeline's inputs, one row of each: a scalar where the dims are [1] (bytes,
text or a JSON object for BYTES, by the annotation of the parameter or else as the sample held it), an array otherwise.
It answers an array, which is the input of the pipeline's model, or a dict of arrays by the names of wires.
"""

__all__ = ["Reference", "ReferenceAnswers", "ask_reference", "find_reference"]

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from repo_tool.errors import PipelineError, error_from_dict
from repo_tool.importers.foreign import refusing
from repo_tool.importers.python_source import find_module
from repo_tool.repository.provenance import digest_of, digest_of_bytes
from repo_tool.samples import Array, Sample, read_published_sample, write_published_sample
from repo_tool.worker_process import left_by_worker, run_worker, what_it_died_of
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.source_digests import digest_of_source

ROWS_A_FILE = 32
MODEL_INPUT = ""  # the name of the answer that is no dict
_WORKER = ("-m", "repo_tool.workflows._reference_worker")


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

    ``told`` gets the number of rows that are done; ``timeout_s`` is for all of them together.

    Raises:
        PipelineError: it cannot be imported, fails on a row, gives no arrays, dies or takes too long.
    """
    _write_job(reference, rows, folder)
    done = folder / "done"
    with TemporaryFile() as log:
        try:
            status = run_worker(_WORKER, folder, log, timeout_s=timeout_s, meanwhile=lambda: told(_size(done)))
        except TimeoutError as error:
            raise PipelineError(
                f"'{reference.source}' took longer than {timeout_s:g} s",
                cause=f"{_size(done)} of {rows.count} rows were done",
                next_step="try fewer rows first, to see whether it hangs",
            ) from error
        answer = _read_answer(folder)
        if answer is None:
            raise _died(reference, row=_size(done), cause=what_it_died_of(status, log))
    return ReferenceAnswers(wires=tuple(answer["wires"]), rows=rows.count, folder=folder)


def _write_job(reference: Reference, rows: PipelineRows, folder: Path) -> None:
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


def _died(reference: Reference, *, row: int, cause: str) -> PipelineError:
    return PipelineError(
        f"the process of '{reference.source}' died at row {row}",
        cause=cause,
        next_step="call the function with that row in Python yourself",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_answer(folder: Path) -> Mapping[str, Any] | None:
    text = left_by_worker(folder / "answer.json")
    if text is None:
        return None
    with refusing("the process of the reference left no answer that reads", next_step="run it again"):
        answer: dict[str, Any] = json.loads(text)
        error = error_from_dict(answer["error"]) if "error" in answer else None
    if error is not None:
        raise error
    return answer
