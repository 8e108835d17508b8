# SPDX-License-Identifier: Apache-2.0
"""Many calls of one model: the rows of a large batch, or requests without end."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from contextlib import aclosing, nullcontext
from typing import Any, Literal

from repo_client._answers import Answer
from repo_client._calls import CallOptions, Inputs, numbered
from repo_client._errors import InputError, RepoClientError
from repo_client._task_window import Source, in_order

Errors = Literal["raise", "return"]


async def infer_each(
    call: Callable[..., Awaitable[Answer]],
    requests: Source[Inputs],
    *,
    limit: int,
    errors: Errors,
    progress: bool,
    options: CallOptions,
) -> AsyncGenerator[Any, None]:
    """The outcomes of ``requests`` in their order, answers or (with ``errors="return"``) failures in their place."""
    request_id = options.get("request_id")

    async def outcome(number: int, inputs: Inputs) -> Answer | RepoClientError:
        try:
            return await call(inputs, **{**options, "request_id": numbered(request_id, number)})
        except RepoClientError as error:
            return error

    with _bar(requests) if progress else nullcontext() as bar:
        async with aclosing(in_order(outcome, requests, limit=limit)) as outcomes:
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
