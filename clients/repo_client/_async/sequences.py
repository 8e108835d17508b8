# SPDX-License-Identifier: Apache-2.0
"""Requests that belong together, for models that keep a state from one to the next."""

from collections.abc import Awaitable, Callable
from secrets import randbits
from types import TracebackType
from typing import Self, Unpack

from repo_client._answers import Answer
from repo_client._calls import CallOptions, Inputs
from repo_client._errors import InputError, RepoClientError

_FAREWELL_S = 5.0  # for the ending request of a sequence that failed


class AsyncModelSequence:
    """A sequence of one model, begun by its first request and ended by ``last=True`` or with the ``with`` block.

    All of it goes to one instance of the model, one request after the other; none is ever tried again. A block that
    ends without ``last=True`` repeats its last inputs in an ending request, whose answer is dropped, because Triton
    frees a sequence only by a request.
    """

    def __init__(self, call: Callable[..., Awaitable[Answer]], sequence_id: int | str | None) -> None:
        self._call = call
        self._id = checked_id(sequence_id)
        self._sent: Inputs | None = None  # the last inputs that may have reached the server
        self._begun = self._ended = False

    @property
    def id(self) -> int | str:
        """The correlation id: the one asked for, or a random number of 63 bits."""
        return self._id

    async def infer(self, inputs: Inputs, *, last: bool = False, **options: Unpack[CallOptions]) -> Answer:
        """Run the model on the next request of the sequence; options as for ``AsyncModel.infer``.

        Raises:
            InputError: also after the last request.
            RepoClientError: as of any call. The sequence goes on; a first request that failed is sent as first again.
        """
        if self._ended:
            raise InputError(f"the sequence {self._id!r} is over", hint="open another one with model.sequence()")
        answer = await self._send(inputs, last=last, options=options)
        self._begun, self._ended = True, last
        return answer

    async def _send(self, inputs: Inputs, *, last: bool, options: CallOptions) -> Answer:
        flags = {"sequence_id": self._id, "sequence_start": not self._begun, "sequence_end": last}
        parameters = {**(options.get("parameters") or {}), **flags}
        try:
            answer = await self._call(inputs, **{**options, "parameters": parameters})
        except InputError:
            raise  # nothing was sent, or nothing was taken
        except RepoClientError:
            self._sent = inputs
            raise
        self._sent = inputs
        return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended or self._sent is None:
            return
        self._ended = True
        try:
            await self._send(self._sent, last=True, options={} if error is None else {"timeout_s": _FAREWELL_S})
        except RepoClientError:
            if error is None:
                raise


def checked_id(sequence_id: int | str | None) -> int | str:
    """The correlation id of a sequence.

    Raises:
        InputError: an id that Triton takes for none.
    """
    if sequence_id is None:
        return randbits(63) or 1
    is_number = isinstance(sequence_id, int) and not isinstance(sequence_id, bool) and 0 < sequence_id < 2**63
    if not is_number and not (isinstance(sequence_id, str) and 0 < len(sequence_id.encode()) <= 128):
        raise InputError(
            f"the id of a sequence is {sequence_id!r}", hint="a number from 1 to 2^63 - 1, or 1 to 128 bytes of text"
        )
    return sequence_id
