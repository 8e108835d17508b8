# SPDX-License-Identifier: Apache-2.0
"""Making a server say that it is not ready while it serves on.

With strict readiness Triton is ready while no model is refused. So it is asked to load a model that it has to refuse,
from a repository of our own beside the served one; no model of anybody else's is touched.
"""

__all__ = ["say_not_ready"]

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from repo_tool.triton.control import ControlApi, ControlUnreachableError

_STOPPING = "repo-tool-is-stopping"


def say_not_ready(notices: Path, address: str, headers: Mapping[str, str], *, timeout_s: float) -> None:
    """Let ``/v2/health/ready`` be 400 from now on; ``notices`` is a repository of the server, ``address`` HTTP's.

    A server that does not answer within ``timeout_s`` seconds is not ready anyway.
    """
    (notices / _STOPPING).mkdir(exist_ok=True)
    (notices / _STOPPING / "config.pbtxt").write_text(f'backend: "{_STOPPING}"\n', encoding="utf-8")
    with suppress(ControlUnreachableError):
        ControlApi(address, headers=headers, timeout_s=timeout_s).post(f"/v2/repository/models/{_STOPPING}/load")
