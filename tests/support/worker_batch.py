# SPDX-License-Identifier: Apache-2.0
"""Many sources through one worker: its walls, its guards, its importers, as ``import_in_child`` has them for each.

Run as ``python -P -m support.worker_batch FOLDER``: ``jobs.json`` in the folder lists them by name, ``out/answers``
gets a line for each as soon as it is known; native code that crashes ends the process, as it would end the worker. A
process for each would take minutes.
"""

import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from repo_tool import sandbox

LONGEST_S = 30


def main(folder):
    """Bring every job in, and write down the refusals."""
    jobs = json.loads((folder / "jobs.json").read_text())
    walls = sandbox.enter([folder / "out"], memory_bytes=6 * 2**30, cpu_s=600)
    assert not walls.missing, walls
    signal.signal(signal.SIGALRM, _too_long)
    with (folder / "out/answers").open("a") as answers:
        for name, job in jobs.items():
            into = folder / "out" / name.replace("/", " ")
            into.mkdir()
            signal.alarm(LONGEST_S)
            answers.write(json.dumps([name, _outcome(job, into)]) + "\n")
            answers.flush()
            signal.alarm(0)


def _too_long(*_):
    raise TimeoutError


def _outcome(values, into):
    from repo_tool.errors import RepoToolError
    from repo_tool.importers._worker import _do
    from repo_tool.importers.base import ImportRequest
    from repo_tool.importers.registry import recognise

    paths = {key: Path(values[key]) for key in ("weights", "sample") if key in values}
    request = ImportRequest(**{**values, **paths}, max_opset=21, max_ir_version=10)
    try:
        importer = type(recognise(request.source, request.framework))
        word = f"{importer.__module__}:{importer.__qualname__}"
        _do(SimpleNamespace(importer=word, request=request, destination=into), into, sandbox.Walls())
    except RepoToolError as error:
        return error.to_dict()
    except MemoryError:
        return {"error": "MemoryError", "fact": "the worker says that memory ran out", "cause": ""}
    return {"error": "", "fact": "it was brought in", "cause": ""}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
