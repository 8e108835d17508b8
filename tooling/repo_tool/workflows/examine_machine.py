# SPDX-License-Identifier: Apache-2.0
"""``doctor``: whether this machine can convert, publish and serve, and what to do where it cannot."""

__all__ = ["examine"]

from pathlib import Path

from repo_tool.workflows.examination import Finding
from repo_tool.workflows.examined_system import (
    examine_disks,
    examine_gpu,
    examine_kernel,
    examine_limits,
    examine_ports,
    examine_shared_memory,
)
from repo_tool.workflows.examined_triton import examine_installation, examine_start, examine_vulnerabilities
from repo_tool.workflows.progress import Progress


def examine(repository: Path, progress: Progress) -> tuple[Finding, ...]:
    """All that was looked at; a server is started for it, on free ports and without any model."""
    with progress.step("looking at the machine"):
        triton = [*examine_installation()]
        system = [
            *examine_ports(),
            *examine_shared_memory(),
            *examine_disks(repository),
            *examine_limits(),
            *examine_kernel(repository),
            *examine_gpu(),
        ]
    if any(finding.state == "error" for finding in triton):
        return (*triton, *system)
    started, version = examine_start(progress)
    return (*triton, *started, *examine_vulnerabilities(version), *system)
