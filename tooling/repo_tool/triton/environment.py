# SPDX-License-Identifier: Apache-2.0
"""Which environment variables the server and the models in it inherit: what they need to run, and no credentials."""

__all__ = ["scrubbed"]

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

_KEPT = re.compile(
    r"HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|NO_COLOR|VIRTUAL_ENV|CONDA_PREFIX|XDG_\w+"
    r"|PYTHON\w+|CUDA\w*|NVIDIA_\w+|NCCL_\w+|OMP_\w+|GOMP_\w+|KMP_\w+|MKL_\w+|OPENBLAS_\w+|NUMEXPR_\w+|ORT_\w+"
    r"|TF_\w+|XLA_\w+|TORCH\w*|PYTORCH_\w+|MALLOC_\w+|LD_PRELOAD"
)
_CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|KEY", re.IGNORECASE)


def scrubbed(environment: Mapping[str, str], *, library_path: str) -> dict[str, str]:
    """The kept variables; the running Python leads ``PATH``, where the stub looks for its own ``python3``."""
    kept = {
        name: value for name, value in environment.items() if _KEPT.fullmatch(name) and not _CREDENTIAL.search(name)
    }
    folders = [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    return kept | {"PATH": os.pathsep.join(folders), "LD_LIBRARY_PATH": library_path}
