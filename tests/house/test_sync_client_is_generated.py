# SPDX-License-Identifier: Apache-2.0
"""The blocking client is what ``clients/generate_sync.py`` makes of the async one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_blocking_side_is_not_stale():
    command = [sys.executable, str(ROOT / "clients" / "generate_sync.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stdout) == (0, ""), "run python clients/generate_sync.py"
