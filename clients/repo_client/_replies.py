# SPDX-License-Identifier: Apache-2.0
"""A server's refusal to the error it means: one table of Triton's words and one of status codes, for both protocols."""

import re
from dataclasses import replace

from repo_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    ExecutionError,
    Facts,
    LoadRefusedError,
    ModelControlError,
    ModelNotFoundError,
    ModelUnhealthyError,
    RefusedRequestError,
    RepoClientError,
    ServerBusyError,
    ServerError,
    UnexpectedAnswerError,
    UnsupportedCallError,
)
from repo_client._network import DEADLINE_HINT

_STREAM_HINT = "iterate over model.stream(inputs), over grpc://"
_SEQUENCE_HINT = "with model.sequence() as sequence: sequence.infer(inputs)"
_FORGOTTEN_HINT = (
    "begin it again: the server forgets a sequence when it restarts, or when no request of it comes for"
    " max_sequence_idle_microseconds"
)
_REOPEN_HINT = "if the model was replaced since it was opened, open it again: client.model(name)"
_KEY_HINT = "pass it to the client: headers={'<that header>': '<the key that the server was started with>'}"
_ACCESS_HINT = "pass token=... or headers={...} to the client, as whoever runs the server tells"
_MESSAGE_HINT = "pass ConnectionOptions(max_message_bytes=...), or send fewer rows at a time"

_CHANGED = re.compile(r"unexpected (?:shape|datatype|inference input)|expected \d+ inputs|batch-size must be <=")

# Triton's words come first, because its codes say less: a refused load, for one, is an INVALID_ARGUMENT. The hint is
# that of the kind where it is empty.
_WORDS: tuple[tuple[re.Pattern[str], type[RepoClientError], str], ...] = (
    (re.compile(r"unknown model|requested model .* is not available|failed to poll from"), ModelNotFoundError, ""),
    (re.compile(r"load failed for model|failed to load"), LoadRefusedError, ""),
    (re.compile(r"explicit model load / unload is not allowed"), ModelControlError, ""),
    (re.compile(r"is restricted, expecting header"), RefusedRequestError, _KEY_HINT),
    (re.compile(r"Request timeout expired"), DeadlineExceededError, ""),
    (re.compile(r"[Ee]xceeds maximum queue size"), ServerBusyError, ""),
    (re.compile(r"Stub process .* is not healthy"), ModelUnhealthyError, ""),
    (re.compile(r"Failed to process the request"), ExecutionError, ""),
    (re.compile(r"models with decoupled transaction policy"), UnsupportedCallError, _STREAM_HINT),
    (re.compile(r"must specify a non-zero or non-empty correlation ID"), UnsupportedCallError, _SEQUENCE_HINT),
    (re.compile(r"must specify the START flag"), RefusedRequestError, _FORGOTTEN_HINT),
    (_CHANGED, RefusedRequestError, _REOPEN_HINT),
    (re.compile(r"received metadata size exceeds"), RefusedRequestError, "send fewer or shorter headers"),
    (re.compile(r"(?:Received|Sent) message larger than max"), RefusedRequestError, _MESSAGE_HINT),  # gRPC's own
)
_CODES: dict[str, type[RepoClientError]] = {
    "INVALID_ARGUMENT": RefusedRequestError,
    "ALREADY_EXISTS": RefusedRequestError,
    "FAILED_PRECONDITION": RefusedRequestError,
    "OUT_OF_RANGE": RefusedRequestError,
    "NOT_FOUND": ModelNotFoundError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "RESOURCE_EXHAUSTED": ServerBusyError,
    "UNIMPLEMENTED": UnexpectedAnswerError,
    "CANCELLED": ConnectionLostError,  # by a server that ends; a call that the client gave up has no status
}
_ACCESS_CODES = ("UNAUTHENTICATED", "PERMISSION_DENIED")  # of what stands in front of Triton
_MODEL_CODES = {"INTERNAL": ExecutionError}  # where a model was called: a failure inside is the model's own
_HINTS: dict[type[RepoClientError], str] = {
    ModelNotFoundError: "see which models are loaded with client.admin.repository_index(); one that is still loading is"
    " waited for by client.admin.wait_until_model_ready",
    ModelUnhealthyError: "repo-tool serve replaces it; elsewhere, unload the model and load it again",
    ModelControlError: "start the server with --model-control-mode=explicit",
    DeadlineExceededError: DEADLINE_HINT,
    ServerBusyError: "try again later, or add instances to the model",
}


def refusal(code: str, words: str, facts: Facts, *, told: str = "", is_answered: bool = False) -> RepoClientError:
    """The error that a status code (named as in gRPC) and the server's words mean.

    Args:
        code: the status.
        words: what the server said.
        facts: what the call was about.
        told: what is told where the server said nothing.
        is_answered: see ``Facts``.
    """
    kind, hint = _meaning(code, words, is_of_a_model=bool(facts.model))
    subject = f"model '{facts.model}': " if facts.model else ""
    facts = replace(facts, server_words=words or None, is_answered=is_answered)
    return kind(f"{subject}{words.strip() or told or code}", hint=hint, facts=facts)


def _meaning(code: str, words: str, *, is_of_a_model: bool) -> tuple[type[RepoClientError], str]:
    for pattern, kind, hint in _WORDS:
        if pattern.search(words):
            return kind, hint or _HINTS.get(kind, "")
    if code in _ACCESS_CODES:
        return RefusedRequestError, _ACCESS_HINT
    kinds = {**_CODES, **_MODEL_CODES} if is_of_a_model else _CODES
    kind = kinds.get(code, ServerError)
    return kind, _HINTS.get(kind, "")
