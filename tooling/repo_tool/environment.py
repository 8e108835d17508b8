# SPDX-License-Identifier: Apache-2.0
"""Which environment variables a process that meets foreign models inherits: what it needs to run, no credentials."""

__all__ = ["without_credentials"]

import re
from collections.abc import Mapping

_KEPT = re.compile(
    r"HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|NO_COLOR|VIRTUAL_ENV|CONDA_PREFIX|XDG_\w+"
    r"|PYTHON\w+|CUDA\w*|NVIDIA_\w+|NCCL_\w+|OMP_\w+|GOMP_\w+|KMP_\w+|MKL_\w+|OPENBLAS_\w+|NUMEXPR_\w+|ORT_\w+"
    r"|TF_\w+|XLA_\w+|TORCH\w*|PYTORCH_\w+|MALLOC_\w+|LD_PRELOAD|KERAS_\w+|HF_HOME|HF_HUB_\w+|TRANSFORMERS_\w+"
)
_CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|KEY", re.IGNORECASE)


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that Python, the frameworks and their native libraries look at."""
    return {
        name: value for name, value in environment.items() if _KEPT.fullmatch(name) and not _CREDENTIAL.search(name)
    }
