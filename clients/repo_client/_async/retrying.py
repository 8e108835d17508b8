# SPDX-License-Identifier: Apache-2.0
"""Failed calls tried again, where that is safe and the budget allows it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from repo_client._async.transport import AsyncInfer
from repo_client._errors import Facts, RepoClientError
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import Retries
from repo_client._repeating import RetryBudget, is_transient, may_repeat, told_attempts
from repo_client._timeouts import seconds_left, to_microseconds

T = TypeVar("T")


class AsyncRetrying:
    """The retries of one client, with their budget."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._budget = RetryBudget(retries.budget)

    def around(self, infer: AsyncInfer) -> AsyncInfer:
        """``infer``, its failures tried again where that is safe."""
        if self._retries.attempts <= 1:
            return infer
        earn = self._budget.earn

        async def infer_again(request: InferRequest, *, timeout_s: float) -> InferResponse:
            deadline = monotonic() + timeout_s
            try:
                response = await infer(request, timeout_s=timeout_s)
            except RepoClientError as error:
                if not may_repeat(error, request):
                    raise
                failure = error
            else:
                earn()
                return response

            async def infer_once(left_s: float) -> InferResponse:
                return await infer(replace(request, timeout_us=to_microseconds(left_s)), timeout_s=left_s)

            return await self._again(infer_once, failure, deadline, partial(may_repeat, request=request))

        return infer_again

    async def read(self, call: Callable[..., Awaitable[T]], *arguments: Any, timeout_s: float) -> T:
        """A call that changes nothing, so that it may always be tried again."""
        deadline = monotonic() + timeout_s
        try:
            return await call(*arguments, timeout_s=timeout_s)
        except RepoClientError as error:
            if self._retries.attempts <= 1 or not is_transient(error):
                raise
            failure = error

        async def read_once(left_s: float) -> T:
            return await call(*arguments, timeout_s=left_s)

        return await self._again(read_once, failure, deadline, is_transient)

    async def _again(
        self,
        once: Callable[[float], Awaitable[T]],
        failure: RepoClientError,
        deadline: float,
        may_follow: Callable[[BaseException], bool],
    ) -> T:
        """``once`` again and again, as long as another attempt ``may_follow`` a failure and the limits allow it."""
        from tenacity import AsyncRetrying as Attempts  # late: most programs never get here
        from tenacity import retry_if_exception, wait_random_exponential

        number, about = 0, Facts(model=failure.model, version=failure.version, request_id=failure.request_id)

        async def attempt() -> T:
            nonlocal number
            number += 1
            if number == 1:
                raise failure  # the attempt that brought us here
            return await once(seconds_left(deadline, about))

        def is_last(state: Any) -> bool:
            return (
                number >= self._retries.attempts
                or monotonic() + state.upcoming_sleep >= deadline
                or not self._budget.spend()
            )

        attempts = Attempts(
            retry=retry_if_exception(may_follow),
            wait=wait_random_exponential(multiplier=self._retries.first_wait_s, max=self._retries.longest_wait_s),
            stop=is_last,
            reraise=True,
        )
        try:
            answer: T = await attempts(attempt)
        except RepoClientError as error:
            if number == 1:
                raise
            raise told_attempts(error, number) from error
        return answer
