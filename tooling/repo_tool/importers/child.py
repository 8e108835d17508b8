# SPDX-License-Identifier: Apache-2.0
"""Bring a model in through a worker process: neither a framework nor a foreign file is loaded in the caller's own."""

__all__ = ["import_in_child"]

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from repo_tool.environment import without_credentials
from repo_tool.errors import NoSpaceError, RepoToolError, SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.exchange import Job, read_answer, write_job
from repo_tool.importers.first_bytes import is_factory
from repo_tool.importers.packages.opened import Opened
from repo_tool.importers.packages.opening import open_package
from repo_tool.importers.registry import recognise
from repo_tool.sandbox import memory_limit

_LOG_LINES, _LOG_BYTES = 12, 2**16
_CACHES = ("TMPDIR", "KERAS_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR")
_LIKELY_CAUSES = {
    signal.SIGKILL: "something killed it, most likely because memory ran out",
    signal.SIGSEGV: "native code crashed, as a damaged model file or a broken framework makes it",
    signal.SIGABRT: "native code of the framework gave up",
}


def import_in_child(request: ImportRequest, folder: Path, *, timeout_s: float = 1800) -> ImportedModel:
    """Bring ``request.source``, or the model inside the package that it is, in, in a fresh Python process.

    The artifact lies in ``folder/artifact``, which holds exactly what belongs into a version directory: beside
    ``model.onnx`` there may be files with its weights. Nothing else is left in ``folder``.

    Raises:
        SourceError: not recognised, not loadable, or the worker died or took longer than ``timeout_s``.
        NoSpaceError: the disk is full.
        UserMistakeError: any other that the importer raised (``SampleError``, ``ReleaseError``, ``MissingExtraError``).
    """
    destination = folder.absolute() / "artifact"
    destination.mkdir(parents=True)
    with TemporaryDirectory(dir=folder, prefix="worker-") as scratch, TemporaryFile(dir=scratch) as log:
        opened = open_package(request, Path(scratch).absolute() / "package")
        importer = type(recognise(opened.request.source, opened.request.framework))
        asked = opened.request if opened.code is None else _with_whole_paths(opened.request)
        job = Job(importer=f"{importer.__module__}:{importer.__qualname__}", request=asked, destination=destination)
        write_job(Path(scratch), job)
        status = _run_worker(opened, Path(scratch), log, timeout_s=timeout_s)
        answer = read_answer(Path(scratch))
        if answer is None and status == errno.ENOSPC:
            raise NoSpaceError(f"no space left to bring '{request.source}' in", next_step="free some space, then retry")
        if answer is None:
            raise _died(request, status, log)
        if isinstance(answer, RepoToolError):
            raise answer
        _refuse_what_leads_elsewhere(answer, destination)
        return opened.complete(answer)


def _refuse_what_leads_elsewhere(answer: ImportedModel, destination: Path) -> None:
    """The caller moves and reads what the worker names, without the worker's walls.

    Raises:
        SourceError: that is not a plain file or folder in ``destination``.
    """
    found = [answer.artifact, *destination.rglob("*")]
    odd = [path for path in found if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if answer.artifact.parent != destination or odd:
        raise SourceError(
            f"loading the model left something else than a model: {odd[0] if odd else answer.artifact}",
            cause="no importer does that: code in the source did",
            next_step="do not load it",
        )


def _with_whole_paths(request: ImportRequest) -> ImportRequest:
    """The same request for a worker in another folder."""
    source = request.source if is_factory(request.source) else str(Path(request.source).absolute())
    weights = request.weights.absolute() if request.weights else None
    return replace(
        request, source=source, weights=weights, sample=request.sample.absolute() if request.sample else None
    )


def _run_worker(opened: Opened, scratch: Path, log: IO[bytes], *, timeout_s: float) -> int:
    """The worker's exit status; it runs where the code of a package lies, so that importers find it as a person's."""
    # -P: a file in the caller's folder called like a package must not shadow it.
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "repo_tool.importers._worker", str(os.getpid())]
    command += [str(scratch.absolute()), str(memory_limit()), str(int(timeout_s * (os.cpu_count() or 1)) + 1)]
    worker = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        cwd=opened.code,
        env=_environment(scratch.absolute()),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return worker.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"bringing '{opened.request.source}' in took longer than {timeout_s:g} s",
            next_step="try a smaller model first, to see whether the framework hangs",
        ) from error
    finally:
        with suppress(ProcessLookupError):  # the group also holds what the framework may have started
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _environment(scratch: Path) -> dict[str, str]:
    """No credentials; what frameworks keep for later goes into ``scratch``, where alone they can write."""
    caches = scratch / "caches"
    caches.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    moved = dict.fromkeys(_CACHES, str(caches))
    return without_credentials(os.environ) | kept | moved | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _died(request: ImportRequest, status: int, log: IO[bytes]) -> SourceError:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    printed = "\n".join(f"  {line}" for line in _last_lines(log.read().decode("utf-8", errors="replace")))
    if status < 0:
        name = signal.Signals(-status).name
        cause = f"{name}: {_LIKELY_CAUSES.get(signal.Signals(-status), 'it did not end by itself')}"
    else:
        cause = f"it ended with status {status} and no answer"
    return SourceError(
        f"the process that was to load '{request.source}' died",
        cause=f"{cause}; the last it printed:\n{printed}" if printed else f"{cause}; it printed nothing",
        next_step="load the file in the framework yourself to see whether it is whole",
    )


def _last_lines(text: str) -> list[str]:
    """What was printed last; of the stack that Python prints in a crash, the innermost frames only."""
    lines = text.splitlines()
    stack = next((place for place, line in enumerate(lines) if line.startswith(("Current thread ", "Thread 0x"))), None)
    end = len(lines) if stack is None else stack + 4
    return lines[max(0, end - _LOG_LINES) : end]
