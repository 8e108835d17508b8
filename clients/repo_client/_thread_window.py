# SPDX-License-Identifier: Apache-2.0
"""A bounded number of calls under way at once, each in a thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Source = Iterable[T]
SOURCES = (Iterable,)


def in_order(
    begin: Callable[[int, T], Callable[[], R]], requests: Source[T], *, limit: int
) -> Generator[R, None, None]:
    """The results of what ``begin`` gives, in the order of ``requests``, read at most ``limit`` ahead.

    ``begin`` is called with a request and its number before the next one is read: it takes what it needs out of it.
    Both happen in the thread of the caller. Closing the generator drops what has not begun; what is under way ends by
    itself, unheard.
    """
    pool = ThreadPoolExecutor(limit, thread_name_prefix="repo_client")
    begun: deque[Future[R]] = deque()
    number, source = 0, iter(requests)
    try:
        while True:
            try:
                call = begin(number, next(source))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001  # whatever the caller's own iterator raises, in its turn
                begun.append(_failed(error))
                break
            begun.append(pool.submit(copy_context().run, call))
            number += 1
            while begun and (len(begun) >= limit or begun[0].done()):
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
