# SPDX-License-Identifier: Apache-2.0
"""A bounded number of calls under way at once, each in a thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Source = Iterable[T]
_Task = tuple[Future[Any], Callable[[], Any]]
SOURCES = (Iterable,)


def in_order(
    begin: Callable[[int, T], Callable[[], R]], requests: Source[T], *, limit: int
) -> Generator[R, None, None]:
    """The results of what ``begin`` gives, in the order of ``requests``, read at most ``limit`` ahead.

    ``begin`` is called with a request and its number before the next one is read: it takes what it needs out of it.
    Both happen in the thread of the caller. Closing the generator drops what has not begun; what is under way ends by
    itself, unheard, or with the program, which does not wait for it.
    """
    workers = _Workers(limit)
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
            begun.append(workers.submit(partial(copy_context().run, call)))
            number += 1
            while begun and (len(begun) >= limit or begun[0].done()):
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        workers.dismiss()


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


class _Workers:
    """Threads that the end of the program does not wait for, as it would for those of an executor."""

    def __init__(self, limit: int) -> None:
        self._to_begin = limit
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Have it called by the next one that is free."""
        future: Future[R] = Future()
        self._tasks.put((future, call))
        if self._to_begin:
            self._to_begin -= 1
            Thread(target=_work, args=(self._tasks,), name="repo_client", daemon=True).start()
        return future

    def dismiss(self) -> None:
        """Drop what has not begun, and let each go when it is done."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        self._tasks.put(None)


def _work(tasks: "SimpleQueue[_Task | None]") -> None:
    while (task := tasks.get()) is not None:
        future, call = task
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is the caller's
            future.set_exception(error)
        del task, future, call  # not kept while it waits for the next
    tasks.put(None)  # for the next one
