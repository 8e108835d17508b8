# SPDX-License-Identifier: Apache-2.0
"""What calls have in common besides their inputs, and how requests are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeGuard, TypeVar

from repo_client._conversion import Cast
from repo_client._errors import Facts, InputError, UnsupportedCallError
from repo_client._messages import ParameterValue
from repo_client._names import name_hint
from repo_client._refusals import CASTS
from repo_client._signatures import ModelSignature

Inputs = Mapping[str, Any]
Source = TypeVar("Source")

_NUMBERS = range(-(2**63), 2**63)  # what both protocols carry
# The parameters of a request that the client itself sets, and how a call asks for them.
_RESERVED = {
    "priority": "pass priority=",
    "timeout": "pass timeout_s=",
    "binary_data_output": "outputs always come as bytes",
    "triton_enable_empty_final_response": "model.stream() asks for it",
}


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


def checked_source(requests: Source, kinds: tuple[type, ...]) -> Source:
    """Many requests.

    Raises:
        InputError: one, or nothing that can be iterated over.
    """
    if isinstance(requests, Mapping):
        raise InputError("one request where many are expected", hint="pass a list of them, or call infer_batch")
    if not isinstance(requests, kinds):
        kind = type(requests).__name__
        raise InputError(f"received a value of type {kind} where many requests are expected", hint="pass a list")
    return requests


def checked_options(options: CallOptions) -> CallOptions:
    """The options of a call that takes them by ``**options``.

    Raises:
        TypeError: one that does not exist, as Python says of any other keyword.
    """
    for name in options:
        if name not in CallOptions.__annotations__:
            hint = name_hint(name, CallOptions.__annotations__, all_are="they are")
            raise TypeError(f"got an unexpected keyword argument '{name}': {hint}")
    return options


def checked_cast(cast: Cast) -> Cast:
    """How far arrays are converted.

    Raises:
        InputError: a word for it that does not exist.
    """
    if cast not in CASTS:
        raise InputError(f"cast is {cast!r}", hint=name_hint(str(cast), CASTS, all_are="it is one of"))
    return cast


def checked_request_id(request_id: str | None) -> str:
    """The id of a request; empty for none.

    Raises:
        InputError: it is no text.
    """
    if request_id is None:
        return ""
    if not is_text(request_id):
        raise InputError(f"request_id is {request_id!r}", hint="it is a text: str(request_id)")
    return request_id


def checked_parameters(
    parameters: Mapping[str, ParameterValue] | None, priority: int | None
) -> Mapping[str, ParameterValue]:
    """The parameters of a request, its priority among them.

    Raises:
        InputError: what no request can carry, what the client sets itself, or a priority that Triton has not.
    """
    if parameters is None and priority is None:
        return {}
    if not isinstance(parameters, Mapping | None):
        raise InputError(f"parameters is {parameters!r}", hint="pass them by name: {'name': value}")
    checked = dict(parameters or {})
    for name, value in checked.items():
        _check_parameter(name, value)
    if priority is None:
        return checked
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 < priority < 2**32:
        raise InputError(f"priority is {priority!r}", hint="1 is the highest of the model's priority_levels")
    return {**checked, "priority": priority}


def _check_parameter(name: object, value: object) -> None:
    if not is_text(name):
        raise InputError(f"the name of a parameter is {name!r}", hint="it is a text")
    if name in _RESERVED:
        raise InputError(f"parameter '{name}' is the client's own", hint=_RESERVED[name])
    is_number = isinstance(value, float) or (isinstance(value, int) and value in _NUMBERS)
    if not (is_number or is_text(value)):
        raise InputError(f"parameter '{name}' is {value!r}", hint="it is a str, a bool, a float, or an int of 64 bits")


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text that UTF-8 has bytes for."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


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
