# SPDX-License-Identifier: Apache-2.0
# Generated from _async/model.py by clients/generate_sync.py: change that file, then run it.
"""A model whose calls are checked before the wire."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Literal, Self, TypeVar, Unpack, overload

from repo_client._answers import Answer
from repo_client._batches import checked_rows, count_rows, joined, split, told_rows
from repo_client._calls import (
    CallOptions,
    Inputs,
    checked_cast,
    checked_limit,
    checked_options,
    checked_parameters,
    checked_request_id,
    checked_source,
    no_batch,
    no_sequence,
    no_single_answer,
    numbered,
)
from repo_client._checking import CallChecker
from repo_client._conversion import Array, Cast
from repo_client._errors import Facts, InputError, RepoClientError
from repo_client._labels import VersionChoice
from repo_client._messages import InferRequest, InferResponse, ParameterValue
from repo_client._options import Nan
from repo_client._signatures import ModelSignature
from repo_client._sync.many import Errors, infer_each
from repo_client._sync.sequences import ModelSequence
from repo_client._sync.transport import Infer
from repo_client._sync.versions import at_version
from repo_client._tensors import decode
from repo_client._thread_window import SOURCES, Source, in_order
from repo_client._timeouts import checked_timeout, seconds_left, to_microseconds

T = TypeVar("T")


class Model:
    """A served model; its calls are checked against ``signature`` before anything is sent."""

    def __init__(
        self,
        signature: ModelSignature,
        *,
        choose: VersionChoice,
        infer: Infer,
        stream: Callable[..., Any],  # of the transport: it gives a generator of responses
        timeout_s: float,
        check_open: Callable[[], None],
        nan: Nan = "allow",
    ) -> None:
        self._signature = signature
        self._choose = choose
        self._infer, self._stream = infer, stream
        self._timeout_s = timeout_s
        self._check_open = check_open
        self._checker = CallChecker(signature, nan=nan)

    @property
    def signature(self) -> ModelSignature:
        """What the model takes and gives, as the server told it when this object was made."""
        return self._signature

    def infer(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        cast: Cast = "no",
        priority: int | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run the model once.

        Args:
            inputs: for each input an array of exactly its type, or lists and scalars of Python that fit it; str are
                sent as UTF-8.
            outputs: the names of the outputs wanted; all of them without.
            timeout_s: the deadline of this call. The server hears of it too, and drops a request that has queued for
                longer: over gRPC always, over HTTP if the model's queue policy has ``allow_timeout_override`` and a
                longer ``default_timeout_microseconds`` (with its default of 0 Triton does not look at ours).
            request_id: given back in the answer, and found in the server's log.
            cast: ``"same_kind"`` converts what ``numpy.can_cast`` calls so: arrays of float64 for FP32, but also of
                integers for floats, which then round them; the integers of lists too.
            priority: of the model's ``priority_levels``, 1 the highest; without it the model's default.
            parameters: a model's own request parameters.
            headers: sent with this call, over those of the client.

        Raises:
            InputError: the call does not fit the signature, or the server says so.
            ModelError: the model is gone, or failed while it ran.
            NetworkError: the server cannot be reached.
            DeadlineExceededError: the answer took longer than ``timeout_s``.
        """
        self._check_open()
        if self._signature.decoupled:
            raise no_single_answer(self._signature)
        limit_s = checked_timeout(timeout_s, self._timeout_s)
        options: CallOptions = {
            "outputs": outputs,
            "request_id": request_id,
            "cast": cast,
            "priority": priority,
            "parameters": parameters,
            "headers": headers,
        }
        return read_answer(self._send(self._prepared(inputs, limit_s, options), limit_s))

    def _send(self, request: InferRequest, limit_s: float) -> InferResponse:
        deadline, is_first = monotonic() + limit_s, True

        def send(version: str) -> InferResponse:
            nonlocal is_first
            if is_first and request.version == version:  # but for a label that moves, it is the one that was prepared
                is_first = False
                return self._infer(request, timeout_s=limit_s)
            left_s = seconds_left(deadline, Facts(model=request.model, version=version, request_id=request.request_id))
            moved = replace(request, version=version, timeout_us=to_microseconds(left_s))
            return self._infer(moved, timeout_s=left_s)

        return at_version(self._choose, send, deadline=deadline)

    def _prepared(self, inputs: Inputs, limit_s: float, options: CallOptions) -> InferRequest:
        arrays = self._checker.arrays(inputs, cast=checked_cast(options.get("cast", "no")))
        self._checker.check_batch(arrays)
        return self._request(arrays, limit_s, options)

    def _request(self, arrays: Mapping[str, Array], limit_s: float, options: CallOptions) -> InferRequest:
        parameters = checked_parameters(options.get("parameters"), options.get("priority"))
        if self._signature.sequence_batching and "sequence_id" not in parameters:
            raise no_sequence(self._signature)
        return InferRequest(
            model=self._signature.name,
            version=self._choose(),
            request_id=checked_request_id(options.get("request_id")),
            inputs=self._checker.encode(arrays),
            outputs=self._checker.outputs(options.get("outputs")),
            timeout_us=to_microseconds(limit_s),
            parameters=parameters,
            headers=options.get("headers") or {},
        )

    def infer_batch(
        self, inputs: Mapping[str, Any], *, max_in_flight: int = 4, **options: Unpack[CallOptions]
    ) -> Answer:
        """Run the model on any number of rows: in requests of at most ``max_batch_size``, answered as one.

        Args:
            inputs: as for ``infer``, with any number of rows from 1.
            max_in_flight: how many requests are under way at once.
            options: those of ``infer``. ``timeout_s`` is the deadline of the whole; with a ``request_id`` of ``"a"``
                the requests are ``"a/0"``, ``"a/1"`` ...

        Raises:
            UnsupportedCallError: the model does not batch.
            UnexpectedAnswerError: an output has more or fewer rows than it was sent.
            RepoClientError: as ``infer``, for the first request that failed; the others are given up.
        """
        self._check_open()
        checked_options(options)
        limit, size = checked_limit(max_in_flight), self._signature.max_batch_size
        if size == 0:
            raise no_batch(self._signature)
        if self._signature.decoupled:
            raise no_single_answer(self._signature)
        limit_s = checked_timeout(options.get("timeout_s"), self._timeout_s)
        arrays = self._checker.arrays(inputs, cast=checked_cast(options.get("cast", "no")))
        rows = count_rows(arrays)
        if rows <= size:
            return checked_rows(self.infer(arrays, **options), rows)
        deadline = monotonic() + limit_s

        def infer_parts(version: str) -> Answer:
            parts = split(arrays, rows, size)
            return self._with_version(version)._infer_parts(parts, limit, deadline, options)

        return at_version(self._choose, infer_parts, deadline=deadline)

    def _with_version(self, version: str) -> Self:
        """The same model, whose calls all go to one version: whatever a label does meanwhile."""
        pinned = copy(self)
        pinned._choose = VersionChoice(lambda: version)
        return pinned

    def _infer_parts(
        self, parts: Iterator[dict[str, Array]], limit: int, deadline: float, options: CallOptions
    ) -> Answer:
        request_id = options.get("request_id")
        facts = Facts(model=self._signature.name, version=self._choose(), request_id=request_id)

        def infer_part(number: int, part: dict[str, Array]) -> Answer:
            left_s, rows = seconds_left(deadline, facts), count_rows(part)
            request = self._request(part, left_s, {**options, "request_id": numbered(request_id, number)})
            try:
                return checked_rows(read_answer(self._infer(request, timeout_s=left_s)), rows)
            except RepoClientError as error:
                raise told_rows(error, number * self._signature.max_batch_size, rows) from error

        def begin(number: int, part: dict[str, Array]) -> Callable[[], Answer]:
            return partial(infer_part, number, part)

        with closing(in_order(begin, parts, limit=limit)) as answers:
            return joined([answer for answer in answers], request_id)

    @overload
    def infer_many(
        self,
        requests: Source[Inputs],
        *,
        max_in_flight: int = 16,
        errors: Literal["raise"] = "raise",
        progress: bool = False,
        **options: Unpack[CallOptions],
    ) -> Generator[Answer, None]: ...

    @overload
    def infer_many(
        self,
        requests: Source[Inputs],
        *,
        max_in_flight: int = 16,
        errors: Literal["return"],
        progress: bool = False,
        **options: Unpack[CallOptions],
    ) -> Generator[Answer | RepoClientError, None]: ...

    def infer_many(
        self,
        requests: Source[Inputs],
        *,
        max_in_flight: int = 16,
        errors: Errors = "raise",
        progress: bool = False,
        **options: Unpack[CallOptions],
    ) -> Generator[Any, None]:
        """Run the model on each of ``requests``, of which there may be no end; answers come in their order.

        Requests are read only as answers are taken: never more than ``max_in_flight`` ahead. The values of each are
        taken out of it, and copied, before the next one is read: one array may be filled anew for every request. Who
        stops taking answers early ends it all: what has not been sent never is.

        Args:
            requests: the inputs of each request, as for ``infer``.
            max_in_flight: how many requests are under way at once.
            errors: ``"raise"`` the first failure in its turn, or ``"return"`` each in its place.
            progress: show a bar (with the package tqdm).
            options: those of ``infer``, for every request; with a ``request_id`` of ``"a"`` they are ``"a/0"`` ...

        Raises:
            RepoClientError: as ``infer``.
        """
        self._check_open()
        if errors not in ("raise", "return"):
            raise InputError(f"errors is {errors!r}", hint='pass "raise" or "return"')
        return self._infer_each(
            requests, lambda inputs: inputs, limit=max_in_flight, errors=errors, progress=progress, options=options
        )

    def _infer_each(
        self,
        requests: Source[T],
        inputs_of: Callable[[T], Inputs],
        *,
        limit: int,
        errors: Errors,
        progress: bool,
        options: CallOptions,
    ) -> Generator[Any, None]:
        limit_s = checked_timeout(checked_options(options).get("timeout_s"), self._timeout_s)
        source, most, request_id = checked_source(requests, SOURCES), checked_limit(limit), options.get("request_id")
        if self._signature.decoupled:
            raise no_single_answer(self._signature)

        def prepare(each: T, number: int) -> InferRequest:
            own: CallOptions = {**options, "request_id": numbered(request_id, number)}
            return self._prepared(inputs_of(each), limit_s, own).owned()

        def send(request: InferRequest) -> Answer:
            self._check_open()
            return read_answer(self._send(request, limit_s))

        return infer_each(prepare, send, source, limit=most, errors=errors, progress=progress)

    def stream(self, inputs: Mapping[str, Any], **options: Unpack[CallOptions]) -> Generator[Answer, None]:
        """Run the model once and give each of its answers as it comes; models that are not decoupled give one.

        Closing the generator cancels what still runs. Options as for ``infer``; ``timeout_s`` is the deadline of all
        answers together. A stream is never tried again.

        Raises:
            UnsupportedCallError: over HTTP, which has no streams.
            RepoClientError: as ``infer``, also between two answers.
        """
        self._check_open()
        limit_s = checked_timeout(checked_options(options).get("timeout_s"), self._timeout_s)
        return self._answers(self._prepared(inputs, limit_s, options), limit_s)

    def _answers(self, request: InferRequest, limit_s: float) -> Generator[Answer, None]:
        with closing(self._stream(request, timeout_s=limit_s)) as responses:
            for response in responses:
                yield read_answer(response)

    def sequence(self, id: int | str | None = None) -> ModelSequence:  # noqa: A002  # Triton's own word
        """A sequence of requests that the model answers with a state of their own, as a ``with`` block.

        Without an ``id`` it gets a random number that no other sequence has.

        Raises:
            InputError: an ``id`` that is neither a positive number nor a short text.
        """
        self._check_open()
        pinned = self._with_version(self._choose())  # where its state is
        return ModelSequence(id, infer=pinned.infer, stream=pinned.stream, decoupled=self._signature.decoupled)


def read_answer(response: InferResponse) -> Answer:
    """The answer that a response carries."""
    return Answer(
        model_name=response.model,
        model_version=response.version,
        request_id=response.request_id,
        outputs={tensor.name: decode(tensor, model=response.model) for tensor in response.outputs},
    )
