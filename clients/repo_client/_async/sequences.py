# SPDX-License-Identifier: Apache-2.0
"""Requests that belong together, for models that keep a state from one to the next."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from secrets import randbits
from threading import Lock
from types import TracebackType
from typing import Self, Unpack

from repo_client._answers import Answer
from repo_client._calls import CallOptions, Inputs, is_text
from repo_client._errors import InputError, RepoClientError

_FAREWELL_S = 5.0  # for the ending request of a sequence that failed


class AsyncModelSequence:
    """A sequence of one model, begun by its first request and ended by ``last=True`` or with the ``with`` block.

    All of it goes to one instance of the model, one request after the other; none is ever tried again, and none taken
    while another is under way. A block that ends without ``last=True`` repeats its last inputs in an ending request,
    whose answer is dropped, because Triton frees a sequence only by a request.
    """

    def __init__(
        self,
        sequence_id: int | str | None,
        *,
        infer: Callable[..., Awaitable[Answer]],
        stream: Callable[..., AsyncGenerator[Answer, None]],
        decoupled: bool,
    ) -> None:
        self._id = checked_id(sequence_id)
        self._infer, self._stream, self._decoupled = infer, stream, decoupled
        self._sent: Inputs | None = None  # the last inputs that may have reached the server
        self._begun = self._ended = False
        self._under_way = Lock()  # never waited for

    @property
    def id(self) -> int | str:
        """The correlation id: the one asked for, or a random number of 63 bits."""
        return self._id

    async def infer(self, inputs: Inputs, *, last: bool = False, **options: Unpack[CallOptions]) -> Answer:
        """Run the model on the next request of the sequence; options as for ``AsyncModel.infer``.

        Raises:
            InputError: also after the last request, and while another one is under way.
            RepoClientError: as of any call. The sequence goes on; a first request that failed is sent as first again.
        """
        with self._turn():
            own, before = self._flagged(options, last=last), self._sent
            self._sent = inputs
            try:
                answer = await self._infer(inputs, **own)
            except InputError:
                self._sent = before  # nothing was sent, or nothing was taken
                raise
            self._begun, self._ended = True, last
            return answer

    async def stream(
        self, inputs: Inputs, *, last: bool = False, **options: Unpack[CallOptions]
    ) -> AsyncGenerator[Answer, None]:
        """Run a decoupled model on the next request of the sequence; options as for ``AsyncModel.stream``.

        Raises:
            RepoClientError: as ``infer``.
        """
        with ExitStack() as turn:
            turn.enter_context(self._turn())
            async with aclosing(self._stream(inputs, **self._flagged(options, last=last))) as answers:
                self._sent = inputs
                async for answer in answers:
                    self._begun = True
                    turn.close()  # the server has the request; who wants no more answers may send the next one
                    yield answer
            self._begun, self._ended = True, last

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Two at once would both be the first, or come in any order."""
        if not self._under_way.acquire(blocking=False):
            hint = "send one after the other, or open another sequence beside it"
            raise InputError(f"a request of the sequence {self._id!r} is under way", hint=hint)
        try:
            yield
        finally:
            self._under_way.release()

    def _flagged(self, options: CallOptions, *, last: bool) -> CallOptions:
        if self._ended:
            raise InputError(f"the sequence {self._id!r} is over", hint="open another one with model.sequence()")
        flags = {"sequence_id": self._id, "sequence_start": not self._begun, "sequence_end": last}
        return {**options, "parameters": {**(options.get("parameters") or {}), **flags}}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended or self._sent is None:
            return
        try:
            await self._end(self._sent, {} if error is None else {"timeout_s": _FAREWELL_S})
        except RepoClientError:
            if error is None:
                raise
        finally:
            self._ended = True

    async def _end(self, inputs: Inputs, options: CallOptions) -> None:
        if not self._decoupled:
            await self.infer(inputs, last=True, **options)
            return
        async for _ in self.stream(inputs, last=True, **options):
            pass  # nobody asked for them


def checked_id(sequence_id: int | str | None) -> int | str:
    """The correlation id of a sequence.

    Raises:
        InputError: an id that Triton takes for none.
    """
    if sequence_id is None:
        return randbits(63) or 1
    is_number = isinstance(sequence_id, int) and not isinstance(sequence_id, bool) and 0 < sequence_id < 2**63
    if not is_number and not (is_text(sequence_id) and 0 < len(sequence_id.encode()) <= 128):
        raise InputError(
            f"the id of a sequence is {sequence_id!r}", hint="a number from 1 to 2^63 - 1, or 1 to 128 bytes of text"
        )
    return sequence_id
