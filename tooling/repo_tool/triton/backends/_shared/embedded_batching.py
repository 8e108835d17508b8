# SPDX-License-Identifier: Apache-2.0
"""From the requests of a dynamic batch to one call of the model and back, for every embedded backend.

Requests whose tensors can be stacked are concatenated once, run once and answered with views of the outputs.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from embedded_configuration import ModelConfiguration, shape_text

Arrays = dict[str, Any]  # tensor name -> numpy array


class RequestError(Exception):
    """A request that cannot be answered, with Triton's kind of error."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = pb_utils.TritonError.INTERNAL if code is None else code


class Batcher:
    """Answers requests with ``run(feeds, output_names) -> {name: array}``.

    ``feeds`` holds the inputs that the requests brought, so optional ones may be missing; ``run`` raises RequestError
    for what the model refuses.
    """

    def __init__(self, configuration: ModelConfiguration, run: Callable[[Arrays, list[str]], Arrays]) -> None:
        self._outputs = {tensor.name: tensor for tensor in configuration.outputs}
        self._batches = configuration.batches
        self._run = run

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in their order."""
        taken = [_Taken(request) for request in requests]
        responses: list[Any] = [None] * len(taken)
        for positions in self._groups(taken):
            answers = self._answer_group([taken[position] for position in positions])
            for position, response in zip(positions, answers, strict=True):
                responses[position] = response
        return responses

    def _groups(self, taken: Sequence["_Taken"]) -> Iterable[list[int]]:
        """Positions of requests that one run can serve: all of one shape apart from the first dimension."""
        if len(taken) == 1 or not self._batches:
            return [[position] for position in range(len(taken))]
        groups: dict[Any, list[int]] = {}
        for position, each in enumerate(taken):
            groups.setdefault(each.stacking_key(), []).append(position)
        return groups.values()

    def _answer_group(self, group: Sequence["_Taken"]) -> list[Any]:
        try:
            return self._run_group(group)
        except RequestError as error:
            # Each needs an error of its own: one that two responses share takes the whole server down (2.51).
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), error.code)) for _ in group]

    def _run_group(self, group: Sequence["_Taken"]) -> list[Any]:
        names = [name for name in self._outputs if any(name in each.requested for each in group)]
        outputs = self._run(_stacked(group), names)
        if not self._batches:
            return [_response(group[0], {name: self._unbatched(name, outputs[name]) for name in names})]
        return self._split(group, {name: outputs[name] for name in names})

    def _unbatched(self, name: str, array: Any) -> Any:
        """A scalar of the model is ``[1]`` (as many ones as configured) to the client."""
        return array.reshape(self._outputs[name].model_dims) if array.ndim == 0 else array

    def _split(self, group: Sequence["_Taken"], outputs: Arrays) -> list[Any]:
        total = sum(each.rows for each in group)
        outputs = {name: self._checked_rows(name, array, total) for name, array in outputs.items()}
        responses, start = [], 0
        for each in group:
            rows = slice(start, start + each.rows)
            responses.append(_response(each, {name: array[rows] for name, array in outputs.items()}))
            start += each.rows
        return responses

    def _checked_rows(self, name: str, array: Any, total: int) -> Any:
        if array.ndim == 0:
            array = array.reshape((1, *self._outputs[name].model_dims))
        if len(array) == total:
            return array
        raise RequestError(
            f"failed to split the output tensor '{name}' in responses: expected batch size of {total} in model output, "
            f"got {len(array)} (shape {shape_text(array.shape)})",
            pb_utils.TritonError.UNSUPPORTED,
        )


class _Taken:
    """A request's inputs as arrays (views of shared memory) and what it asks for."""

    def __init__(self, request: Any) -> None:
        self.inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        self.requested = request.requested_output_names()

    @property
    def rows(self) -> int:
        """The length of the batch dimension."""
        return len(next(iter(self.inputs.values()))) if self.inputs else 1

    def stacking_key(self) -> tuple[Any, ...]:
        """Equal for requests that may be concatenated."""
        return tuple((name, self.inputs[name].shape[1:]) for name in sorted(self.inputs))


def _stacked(group: Sequence[_Taken]) -> Arrays:
    if len(group) == 1:
        return group[0].inputs
    return {name: np.concatenate([each.inputs[name] for each in group]) for name in group[0].inputs}


def _response(taken: _Taken, outputs: Mapping[str, Any]) -> Any:
    tensors = [pb_utils.Tensor(name, array) for name, array in outputs.items() if name in taken.requested]
    return pb_utils.InferenceResponse(tensors)
