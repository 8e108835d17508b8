# SPDX-License-Identifier: Apache-2.0
"""Many calls of one model: the rows of a large batch, or requests without end."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, Literal, TypeVar

from repo_client._answers import Answer
from repo_client._errors import InputError, RepoClientError
from repo_client._messages import InferRequest
from repo_client._task_window import Source, in_order

Errors = Literal["raise", "return"]
T = TypeVar("T")
_Outcome = Answer | RepoClientError


async def infer_each(
    prepare: Callable[[T, int], InferRequest],
    send: Callable[[InferRequest], Awaitable[Answer]],
    requests: Source[T],
    *,
    limit: int,
    errors: Errors,
    progress: bool,
) -> AsyncGenerator[Any, None]:
    """The outcomes of ``requests`` in their order, answers or (with ``errors="return"``) failures in their place.

    ``prepare`` is given each request and its number before the next one is read, and leaves nothing in it to be read.
    """

    async def outcome(prepared: InferRequest | RepoClientError) -> _Outcome:
        if isinstance(prepared, RepoClientError):
            return prepared
        try:
            return await send(prepared)
        except RepoClientError as error:
            return error

    def begin(number: int, request: T) -> Callable[[], Awaitable[_Outcome]]:
        try:
            return partial(outcome, prepare(request, number))
        except RepoClientError as error:
            return partial(outcome, error)

    with _bar(requests) if progress else nullcontext() as bar:
        async with aclosing(in_order(begin, requests, limit=limit)) as outcomes:
            async for found in outcomes:
                if bar is not None:
                    bar.update()
                if errors == "raise" and isinstance(found, RepoClientError):
                    raise found
                yield found


def _bar(requests: object) -> Any:
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise InputError(
            "progress needs the package tqdm", hint="pip install 'triton-repo-client[progress]'"
        ) from error
    return tqdm(total=len(requests) if isinstance(requests, Sized) else None, unit=" requests")
