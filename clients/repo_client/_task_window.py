# SPDX-License-Identifier: Apache-2.0
"""A bounded number of calls under way at once on the running event loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Source = Iterable[T] | AsyncIterable[T]
SOURCES = (Iterable, AsyncIterable)


async def in_order(
    begin: Callable[[int, T], Callable[[], Awaitable[R]]], requests: Source[T], *, limit: int
) -> AsyncGenerator[R, None]:
    """The results of what ``begin`` gives, in the order of ``requests``, read at most ``limit`` ahead.

    ``begin`` is called with a request and its number before the next one is read: it takes what it needs out of it. A
    result is given as soon as it and those before it are there, also while the next request is waited for. Closing the
    generator cancels what is under way.
    """
    slots = asyncio.Semaphore(limit)
    begun: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[R]] = set()
    feeder = asyncio.create_task(_feed(begin, requests, slots, begun, tasks))
    try:
        while (task := await begun.get()) is not None:
            result = await task
            tasks.discard(task)
            slots.release()
            yield result
        await feeder
    finally:
        feeder.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(feeder, *tasks, return_exceptions=True)


async def _feed(
    begin: Callable[[int, T], Callable[[], Awaitable[R]]],
    requests: Source[T],
    slots: asyncio.Semaphore,
    begun: "asyncio.Queue[asyncio.Task[R] | None]",
    tasks: set[asyncio.Task[R]],
) -> None:
    try:
        await slots.acquire()
        number = 0
        async with aclosing(_each(requests)) as source:
            async for request in source:
                task = asyncio.ensure_future(begin(number, request)())
                tasks.add(task)
                begun.put_nowait(task)
                number += 1
                await slots.acquire()
    finally:
        begun.put_nowait(None)


async def _each(requests: Source[T]) -> AsyncGenerator[T, None]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    for request in requests:
        yield request
