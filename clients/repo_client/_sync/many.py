# SPDX-License-Identifier: Apache-2.0
# Generated from _async/many.py by clients/generate_sync.py: change that file, then run it.
"""Many calls of one model: the rows of a large batch, or requests without end."""

from collections.abc import Callable, Generator, Sized
from contextlib import closing, nullcontext
from typing import Any, Literal

from repo_client._answers import Answer
from repo_client._calls import CallOptions, Inputs, numbered
from repo_client._errors import InputError, RepoClientError
from repo_client._thread_window import Source, in_order

Errors = Literal["raise", "return"]


def infer_each(
    call: Callable[..., Answer],
    requests: Source[Inputs],
    *,
    limit: int,
    errors: Errors,
    progress: bool,
    options: CallOptions,
) -> Generator[Any, None]:
    """The outcomes of ``requests`` in their order, answers or (with ``errors="return"``) failures in their place."""
    request_id = options.get("request_id")

    def outcome(number: int, inputs: Inputs) -> Answer | RepoClientError:
        try:
            return call(inputs, **{**options, "request_id": numbered(request_id, number)})
        except RepoClientError as error:
            return error

    with _bar(requests) if progress else nullcontext() as bar:
        with closing(in_order(outcome, requests, limit=limit)) as outcomes:
            for found in outcomes:
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
