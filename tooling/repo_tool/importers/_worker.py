# SPDX-License-Identifier: Apache-2.0
"""The worker process of ``import_in_child``: one job, one answer, then gone."""

import errno
import importlib
import sys
from pathlib import Path

from repo_tool.errors import RepoToolError
from repo_tool.importers.base import Importer
from repo_tool.importers.exchange import Job, read_job, write_error, write_imported
from repo_tool.samples import read_raw_sample


def main(folder: Path) -> None:
    """Do the job left in ``folder`` and leave the answer there; any exception that is not ours ends the process.

    A full disk is the exit status ENOSPC.
    """
    try:
        _do(read_job(folder), folder)
    except RepoToolError as error:
        write_error(folder, error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(errno.ENOSPC)  # no answer can be written either


def _do(job: Job, folder: Path) -> None:
    module, name = job.importer.split(":")
    importer: Importer = getattr(importlib.import_module(module), name)()
    sample = read_raw_sample(job.request.sample) if job.request.sample else None
    write_imported(folder, importer.bring_in(job.request, sample, job.destination))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
