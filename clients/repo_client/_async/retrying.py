# SPDX-License-Identifier: Apache-2.0
"""Failed calls tried again, where that is safe and the budget allows it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

from repo_client._async.transport import AsyncInfer
from repo_client._errors import Facts, RepoClientError
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import Retries
from repo_client._repeating import Limits, Outages, RetryBudget, is_safe, is_transient, is_unloaded, told_attempts
from repo_client._timeouts import seconds_left, to_microseconds

T = TypeVar("T")

_LEAST_LIMIT_S = 0.01  # of the waits in an outage
_LONGEST_WAIT_S, _LONGEST_RELOAD_WAIT_S = 0.25, 1.0  # where nobody is asked, and where a server has to answer


class AsyncRetrying:
    """The retries of one client, with their budget."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._budget = RetryBudget(retries.budget)
        self._outages = Outages(retries.patience_s, retries.budget)

    def around(self, infer: AsyncInfer) -> AsyncInfer:
        """``infer``, its failures tried again where that is safe."""
        if self._retries.attempts <= 1:
            return infer
        earn, is_over = self._budget.earn, self._outages.is_over

        async def infer_again(request: InferRequest, *, timeout_s: float) -> InferResponse:
            deadline = monotonic() + timeout_s

            def may_follow(error: BaseException) -> bool:
                return self._may_pass(error, request.model) and is_safe(error, request)

            try:
                response = await infer(request, timeout_s=timeout_s)
            except RepoClientError as error:
                if not may_follow(error):
                    raise
                failure = error
            else:
                earn()
                is_over(request.model)
                return response

            async def infer_once(left_s: float) -> InferResponse:
                return await infer(replace(request, timeout_us=to_microseconds(left_s)), timeout_s=left_s)

            return await self._again(infer_once, failure, deadline, may_follow, model=request.model)

        return infer_again

    async def read(self, call: Callable[..., Awaitable[T]], model: str, version: str, *, timeout_s: float) -> T:
        """A call about a model that changes nothing, so that it may always be tried again."""
        deadline = monotonic() + timeout_s

        def may_follow(error: BaseException) -> bool:
            return self._may_pass(error, model)

        try:
            answer = await call(model, version, timeout_s=timeout_s)
        except RepoClientError as error:
            if self._retries.attempts <= 1 or not may_follow(error):
                raise
            failure = error
        else:
            self._outages.is_over(model)
            return answer

        async def read_once(left_s: float) -> T:
            return await call(model, version, timeout_s=left_s)

        return await self._again(read_once, failure, deadline, may_follow, model=model)

    def _may_pass(self, error: BaseException, model: str) -> bool:
        self._outages.notice(error, model)
        return is_transient(error) or self._outages.excuses(error, model)

    async def _again(
        self,
        once: Callable[[float], Awaitable[T]],
        failure: RepoClientError,
        deadline: float,
        may_follow: Callable[[BaseException], bool],
        *,
        model: str,
    ) -> T:
        """``once`` again and again, as long as another attempt ``may_follow`` a failure and the limits allow it."""
        from tenacity import AsyncRetrying as Attempts  # late: most programs never get here
        from tenacity import retry_if_exception

        number, about = 0, Facts(model=failure.model, version=failure.version, request_id=failure.request_id)
        limits = Limits(self._retries.attempts, self._budget, self._outages, model=model, deadline=deadline)

        async def attempt() -> T:
            nonlocal number
            number += 1
            if number == 1:
                raise failure  # the attempt that brought us here
            return await once(seconds_left(deadline, about))

        def is_last(state: Any) -> bool:
            return limits.end(state.outcome.exception(), state.upcoming_sleep)

        attempts = Attempts(
            retry=retry_if_exception(may_follow),
            wait=self._wait(model),
            stop=is_last,
            reraise=True,
        )
        try:
            answer: T = await attempts(attempt)
        except RepoClientError as error:
            if number == 1:
                raise
            raise told_attempts(error, number) from error
        self._outages.is_over(model)
        return answer

    def _wait(self, model: str) -> Callable[[Any], float]:
        """How long to wait after a failed attempt, at random."""
        from tenacity import wait_random_exponential

        first_s, longest_s = self._retries.first_wait_s, self._retries.longest_wait_s
        least_s = max(first_s, _LEAST_LIMIT_S)
        usual = wait_random_exponential(multiplier=first_s, max=longest_s)
        in_outage = wait_random_exponential(multiplier=least_s, max=_LONGEST_WAIT_S)
        in_reload = wait_random_exponential(multiplier=least_s, max=_LONGEST_RELOAD_WAIT_S)

        def wait(state: Any) -> float:
            error = state.outcome.exception()
            if not self._outages.excuses(error, model):
                return usual(state)
            return (in_reload if is_unloaded(error) else in_outage)(state)

        return wait
