# SPDX-License-Identifier: Apache-2.0
"""An open load in a process of its own, as clients are: nothing that a test computes makes a request late."""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Self

from support.open_loop import Calls, OpenLoop

_END_S = 60.0  # for the last answers


class OpenLoopElsewhere:
    """Takes what ``OpenLoop`` does; ``calls`` is there once the block is left."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.calls = Calls()
        self.started = 0.0  # by the monotonic clock, which all processes of a machine share
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_load, args=(theirs, args, options), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.started = self._told()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(None)
        self.calls = self._told()
        self._process.join(_END_S)

    def sent(self, *, after: int = 0) -> int:
        """How many requests have left, once ``after`` further ones have ended."""
        self._connection.send(after)
        count: int = self._told()
        return count

    def _told(self) -> Any:
        while not self._connection.poll(0.1):
            assert self._process.is_alive(), "the load has ended; its own words are above"
        return self._connection.recv()


def _load(connection: Connection, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    with OpenLoop(*args, **options) as load:
        connection.send(load.started)
        while (further := connection.recv()) is not None:
            load.wait_for(further)
            connection.send(load.calls.sent)
    connection.send(load.calls)
