# SPDX-License-Identifier: Apache-2.0
"""What calls have in common besides their inputs, and how requests are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from repo_client._conversion import Cast
from repo_client._errors import Facts, InputError, UnsupportedCallError
from repo_client._messages import ParameterValue
from repo_client._signatures import ModelSignature

Inputs = Mapping[str, Any]


class CallOptions(TypedDict, total=False):
    """The options of ``Model.infer`` that also hold for many calls at once; see there."""

    outputs: Sequence[str] | None
    timeout_s: float | None
    request_id: str | None
    cast: Cast
    priority: int | None
    parameters: Mapping[str, ParameterValue] | None
    headers: Mapping[str, str] | None


def numbered(request_id: str | None, number: int) -> str:
    """The id of one of several requests that share ``request_id``: ``job-7/0``, ``job-7/1`` ...; empty without."""
    return f"{request_id}/{number}" if request_id else ""


def checked_limit(max_in_flight: int) -> int:
    """How many calls may be under way at once.

    Raises:
        InputError: none, or no number.
    """
    if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int) or max_in_flight < 1:
        raise InputError(f"max_in_flight is {max_in_flight!r}", hint="it counts calls: 1, 2, 3 ...")
    return max_in_flight


def with_priority(
    parameters: Mapping[str, ParameterValue] | None, priority: int | None
) -> Mapping[str, ParameterValue]:
    """The parameters of a request.

    Raises:
        InputError: a priority that Triton has not.
    """
    if priority is None:
        return parameters or {}
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 < priority < 2**32:
        raise InputError(f"priority is {priority!r}", hint="1 is the highest of the model's priority_levels")
    return {**(parameters or {}), "priority": priority}


def no_single_answer(signature: ModelSignature) -> UnsupportedCallError:
    """The error of asking a decoupled model for one answer."""
    return UnsupportedCallError(
        f"model '{signature.name}' is decoupled: it answers any number of times",
        hint="iterate over model.stream(inputs), over grpc://; in a sequence over sequence.stream(inputs)",
        facts=Facts(model=signature.name, version=signature.version),
    )


def no_sequence(signature: ModelSignature) -> UnsupportedCallError:
    """The error of a request outside of a sequence to a model that takes no others."""
    return UnsupportedCallError(
        f"model '{signature.name}' batches sequences: a request has to belong to one",
        hint="with model.sequence() as sequence: sequence.infer(inputs)",
        facts=Facts(model=signature.name, version=signature.version),
    )


def no_batch(signature: ModelSignature) -> UnsupportedCallError:
    """The error of splitting what has no rows."""
    return UnsupportedCallError(
        f"model '{signature.name}' does not batch: its max_batch_size is 0",
        hint="call infer, or infer_many for several requests",
        facts=Facts(model=signature.name, version=signature.version),
    )
