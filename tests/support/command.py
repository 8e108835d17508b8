# SPDX-License-Identifier: Apache-2.0
"""The command line as a person runs it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

REPO_TOOL = Path(sys.executable).parent / "repo-tool"
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}


def environment(**more: str) -> dict[str, str]:
    """This environment, without colours and of a fixed width."""
    return os.environ | PLAIN | more


def repo_tool(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``repo-tool`` to its end."""
    command = [str(REPO_TOOL), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=240, check=False
    )


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes, folders as names that end in a slash."""
    return {
        str(path.relative_to(folder)) + ("/" if path.is_dir() else ""): b"" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }
