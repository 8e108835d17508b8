# SPDX-License-Identifier: Apache-2.0
"""A model whose calls are checked before the wire."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from repo_client._answers import Answer
from repo_client._async.transport import AsyncInfer
from repo_client._checking import CallChecker
from repo_client._conversion import Cast
from repo_client._messages import InferRequest, InferResponse, ParameterValue
from repo_client._options import Nan
from repo_client._signatures import ModelSignature
from repo_client._tensors import decode
from repo_client._timeouts import checked_timeout


class AsyncModel:
    """A served model; its calls are checked against ``signature`` before anything is sent."""

    def __init__(
        self,
        signature: ModelSignature,
        *,
        infer: AsyncInfer,
        stream: Callable[..., AsyncIterator[InferResponse]],
        timeout_s: float,
        check_open: Callable[[], None],
        nan: Nan = "allow",
    ) -> None:
        self._signature = signature
        self._infer, self._stream = infer, stream
        self._timeout_s = timeout_s
        self._check_open = check_open
        self._checker = CallChecker(signature, nan=nan)

    @property
    def signature(self) -> ModelSignature:
        """What the model takes and gives, as the server told it when this object was made."""
        return self._signature

    async def infer(
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
                longer if the model's queue policy has ``allow_timeout_override``.
            request_id: given back in the answer, and found in the server's log.
            cast: ``"same_kind"`` converts arrays within a kind, e.g. float64 for FP32.
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
        limit_s = checked_timeout(timeout_s, self._timeout_s)
        arrays = self._checker.arrays(inputs, cast=cast)
        self._checker.check_batch(arrays)
        request = InferRequest(
            model=self._signature.name,
            version=self._signature.version,
            request_id=request_id or "",
            inputs=self._checker.encode(arrays),
            outputs=self._checker.outputs(outputs),
            timeout_us=int(limit_s * 1e6),
            parameters={**(parameters or {}), **({} if priority is None else {"priority": priority})},
            headers=headers or {},
        )
        return read_answer(await self._infer(request, timeout_s=limit_s))


def read_answer(response: InferResponse) -> Answer:
    """The answer that a response carries."""
    return Answer(
        model_name=response.model,
        model_version=response.version,
        request_id=response.request_id,
        outputs={tensor.name: decode(tensor, model=response.model) for tensor in response.outputs},
    )
