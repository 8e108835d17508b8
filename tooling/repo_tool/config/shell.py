# SPDX-License-Identifier: Apache-2.0
"""What of a configuration Triton puts into a shell command.

When it starts a Python stub, Triton 2.51 writes the names of instances, the path of an execution environment and the
model's file name into ``bash -c`` without quotes: ``instance_group { name: "$(touch x)" }`` ran the command, whatever
the backend.
"""

__all__ = ["unsafe_shell_words"]

import re

from repo_tool.config.model import ModelConfig

_SAFE = re.compile(r"(?:\$\$TRITON_MODEL_DIRECTORY)?[A-Za-z0-9_./-]*")


def unsafe_shell_words(config: ModelConfig) -> list[str]:
    """The strings of ``config`` that a shell would not take literally."""
    words = [group.name for group in config.instance_groups]
    words += [config.parameters.get("EXECUTION_ENV_PATH", ""), config.default_model_filename]
    return [word for word in words if _SAFE.fullmatch(word) is None]
