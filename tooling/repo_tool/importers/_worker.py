# SPDX-License-Identifier: Apache-2.0
"""The worker process of ``import_in_child``: walls first, then one job, one answer, and gone."""

import errno
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repo_tool import sandbox

if TYPE_CHECKING:
    from repo_tool.errors import RepoToolError
    from repo_tool.importers.base import Importer
    from repo_tool.importers.exchange import Job


def main(folder: Path, *, memory_bytes: int, cpu_s: int) -> None:
    """Do the job left in ``folder`` and leave the answer there; any exception that is not ours ends the process.

    A full disk is the exit status ENOSPC.
    """
    destination = Path(json.loads((folder / "job.json").read_text(encoding="utf-8"))["destination"])
    walls = sandbox.enter([folder, destination], memory_bytes=memory_bytes, cpu_s=cpu_s)

    from repo_tool.errors import RepoToolError  # only now, since NumPy starts threads, which walls do not reach
    from repo_tool.importers.exchange import read_job, write_error

    try:
        _do(read_job(folder), folder, walls)
    except RepoToolError as error:
        write_error(folder, error)
    except MemoryError:
        write_error(folder, _out_of_memory(memory_bytes))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(errno.ENOSPC)  # no answer can be written either


def _do(job: "Job", folder: Path, walls: sandbox.Walls) -> None:
    from dataclasses import replace
    from importlib import import_module

    from repo_tool.importers.exchange import write_imported
    from repo_tool.importers.guards.admission import admit
    from repo_tool.samples import read_raw_sample

    trusted = admit(job.request)
    module, name = job.importer.split(":")
    importer: Importer = getattr(import_module(module), name)()
    sample = read_raw_sample(job.request.sample) if job.request.sample else None
    imported = importer.bring_in(job.request, sample, job.destination)
    notes = tuple(f"the model was loaded without a wall: {missing}" for missing in walls.missing)
    write_imported(
        folder,
        replace(
            imported,
            notes=(*imported.notes, *notes),
            trusted=tuple(dict.fromkeys((*trusted, *imported.trusted))),
        ),
    )


def _out_of_memory(memory_bytes: int) -> "RepoToolError":
    from repo_tool.errors import SourceError

    return SourceError(
        "the model needs more memory than there is",
        cause=f"{memory_bytes / 2**30:.1f} GiB were free, and all of it was asked for",
        next_step="stop other programs, or bring it in on a larger machine",
    )


if __name__ == "__main__":
    sandbox.die_with(int(sys.argv[1]))
    main(Path(sys.argv[2]), memory_bytes=int(sys.argv[3]), cpu_s=int(sys.argv[4]))
