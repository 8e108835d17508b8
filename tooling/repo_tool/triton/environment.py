# SPDX-License-Identifier: Apache-2.0
"""Which environment variables the server and the models in it inherit: what they need to run, and no credentials."""

__all__ = ["scrubbed"]

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from repo_tool.environment import without_credentials


def scrubbed(environment: Mapping[str, str], *, library_path: str) -> dict[str, str]:
    """The kept variables; the running Python leads ``PATH``, where the stub looks for its own ``python3``."""
    folders = [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    return without_credentials(environment) | {"PATH": os.pathsep.join(folders), "LD_LIBRARY_PATH": library_path}
