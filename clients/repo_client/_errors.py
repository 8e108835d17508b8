# SPDX-License-Identifier: Apache-2.0
"""Every failure that the client raises on purpose, as one tree whose branches say who is at fault.

::

    RepoClientError
    ├── InputError                     you: what was passed or asked
    │   ├── UrlError                   an address that is none of grpc:// grpcs:// http:// https://
    │   ├── ClosedClientError          a call after close()
    │   ├── UnknownTensorError         a name that the model does not have
    │   │   └── UnknownOutputError     a name that an answer does not have; also a KeyError
    │   ├── MissingInputError          an input without a value
    │   ├── DatatypeError              a value of another data type
    │   ├── ShapeError                 a dimension of another size, or values that fill no shape
    │   │   └── RankError              more or fewer dimensions; the batch dimension is first
    │   ├── BatchSizeError             more rows than max_batch_size, none, or not as many for every input
    │   ├── NanError                   a NaN where the model was opened with nan="refuse"
    │   ├── UnsupportedCallError       a call that this model or protocol does not take, e.g. a stream over HTTP
    │   ├── SharedMemoryError          shared memory was insisted on, and the server cannot open it
    │   ├── NotRecordedError           a call that is not in the recording it is replayed from, in a test
    │   └── RefusedRequestError        only the server noticed; ``server_words`` has its reason
    ├── ModelError                     the model
    │   ├── ModelNotFoundError         not in the repository, or not loaded
    │   ├── LabelNotFoundError         no version has that label
    │   ├── LoadRefusedError           the server would not load it
    │   ├── SignatureChangedError      it is no longer what a generated client was made for
    │   └── ExecutionError             it failed while it ran
    │       └── ModelUnhealthyError    the process that runs it has died, or stands still
    ├── ServerError                    the server
    │   ├── ServerBusyError            a full queue; the same call may work later
    │   ├── ModelControlError          it was not started with explicit model control
    │   └── UnexpectedAnswerError      an answer outside the Open Inference Protocol
    ├── NetworkError                   the way to the server
    │   ├── ServerUnreachableError     nobody listens there
    │   ├── ConnectionLostError        it closed in the middle of a call
    │   └── TlsError                   no trust: certificates, or a server without TLS
    └── DeadlineExceededError          the deadline: the answer took longer than ``timeout_s``
"""

from copy import copy
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a failure is about; ``None`` where that does not apply.

    Attributes:
        server_words: what the server itself said, and nothing of what was noticed on this side.
        is_answered: the server is known to have ended the request itself, so that it is done with its memory.
        is_unprocessed: the server promised not to have looked at the request, so that any can be made again.
    """

    model: str | None = None
    version: str | None = None
    tensor: str | None = None
    expected: str | None = None
    received: str | None = None
    request_id: str | None = None
    server_words: str | None = None
    is_answered: bool = False
    is_unprocessed: bool = False


class RepoClientError(Exception):
    """A failure told as fact and hint; what it is about is kept as attributes, see ``Facts``."""

    def __init__(self, fact: str, *, hint: str = "", facts: Facts | None = None) -> None:
        super().__init__(fact)
        about = facts or Facts()
        self.fact = fact
        self.hint = hint
        self.model = about.model
        self.version = about.version
        self.tensor = about.tensor
        self.expected = about.expected
        self.received = about.received
        self.request_id = about.request_id
        self.server_words = about.server_words
        self.is_answered = about.is_answered
        self.is_unprocessed = about.is_unprocessed
        self.attempts = 1  # how often the call was made, where the client tried again

    def __str__(self) -> str:
        return f"{self.fact}\nhint: {self.hint}" if self.hint else self.fact


E = TypeVar("E", bound=RepoClientError)


def with_addition(error: E, words: str) -> E:
    """The same failure, whose fact goes on with ``words`` in brackets."""
    told = copy(error)
    told.fact = f"{error.fact} ({words})"
    told.args = (told.fact,)
    return told


class InputError(RepoClientError):
    """What was passed or asked cannot be sent."""


class UrlError(InputError):
    """The address is none that a client can open."""


class ClosedClientError(InputError):
    """The client was closed before the call."""


class UnknownTensorError(InputError):
    """The model has no input or output of that name."""


class UnknownOutputError(UnknownTensorError, KeyError):
    """The answer has no output of that name: a ``KeyError`` too, as any mapping raises."""


class MissingInputError(InputError):
    """The model needs an input that was not passed."""


class DatatypeError(InputError):
    """The value has another data type than the tensor."""


class ShapeError(InputError):
    """The value has a dimension of another size than the tensor, or no shape at all."""


class RankError(ShapeError):
    """The value has more or fewer dimensions than the tensor, whose batch dimension is the first."""


class BatchSizeError(InputError):
    """More rows than ``max_batch_size``, none at all, or not as many for every input."""


class NanError(InputError):
    """An input holds a NaN, and the model was opened with ``nan="refuse"``."""


class UnsupportedCallError(InputError):
    """The model or the protocol does not take calls of this kind."""


class SharedMemoryError(InputError):
    """Shared memory was insisted on, and client and server cannot share any."""


class NotRecordedError(InputError):
    """The recording that a test replays has no answer to this call."""


class RefusedRequestError(InputError):
    """The server refused a request that looked right from here."""


class ModelError(RepoClientError):
    """The model is at fault."""


class ModelNotFoundError(ModelError):
    """The repository has no such model or version, or it is not loaded."""


class LabelNotFoundError(ModelError):
    """No version of the model has that label."""


class LoadRefusedError(ModelError):
    """The server would not load the model."""


class SignatureChangedError(ModelError):
    """The served model takes or gives something else than the generated client was made for."""


class ExecutionError(ModelError):
    """The model failed while it ran."""


class ModelUnhealthyError(ExecutionError):
    """The process that runs the model has died or stands still; another instance may answer."""


class ServerError(RepoClientError):
    """The server is at fault."""


class ServerBusyError(ServerError):
    """The model's queue is full."""


class ModelControlError(ServerError):
    """The server does not load and unload on request."""


class UnexpectedAnswerError(ServerError):
    """The answer is outside the Open Inference Protocol."""


class NetworkError(RepoClientError):
    """The way to the server is at fault."""


class ServerUnreachableError(NetworkError):
    """Nobody listens at the address."""


class ConnectionLostError(NetworkError):
    """The connection closed in the middle of a call."""


class TlsError(NetworkError):
    """No trust could be set up with the server."""


class DeadlineExceededError(RepoClientError):
    """The answer took longer than ``timeout_s``."""
