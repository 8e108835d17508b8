# SPDX-License-Identifier: Apache-2.0
"""A server's refusal to the error it means: one table of Triton's words and one of status codes, for both protocols."""

import re

from repo_client._errors import (
    DeadlineExceededError,
    ExecutionError,
    Facts,
    LoadRefusedError,
    ModelControlError,
    ModelNotFoundError,
    RefusedRequestError,
    RepoClientError,
    ServerBusyError,
    ServerError,
    UnexpectedAnswerError,
)
from repo_client._network import DEADLINE_HINT

# Triton's words come first, because its codes say less: a refused load, for one, is an INVALID_ARGUMENT.
_WORDS: tuple[tuple[re.Pattern[str], type[RepoClientError]], ...] = (
    (re.compile(r"unknown model|requested model .* is not available|failed to poll from"), ModelNotFoundError),
    (re.compile(r"load failed for model|failed to load"), LoadRefusedError),
    (re.compile(r"explicit model load / unload is not allowed"), ModelControlError),
    (re.compile(r"Request timeout expired"), DeadlineExceededError),
    (re.compile(r"[Ee]xceeds maximum queue size"), ServerBusyError),
    (re.compile(r"Failed to process the request"), ExecutionError),
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
}
_HINTS: dict[type[RepoClientError], str] = {
    ModelNotFoundError: "see which models are loaded with client.admin.repository_index()",
    ModelControlError: "start the server with --model-control-mode=explicit",
    DeadlineExceededError: DEADLINE_HINT,
    ServerBusyError: "try again later, or add instances to the model",
}


def refusal(code: str, words: str, facts: Facts) -> RepoClientError:
    """The error that a status code (named as in gRPC) and the server's words mean."""
    found = (kind for pattern, kind in _WORDS if pattern.search(words))
    kind = next(found, _CODES.get(code, ServerError))
    subject = f"model '{facts.model}': " if facts.model else ""
    about = Facts(model=facts.model, version=facts.version, request_id=facts.request_id, server_words=words)
    return kind(f"{subject}{words.strip() or code}", hint=_HINTS.get(kind, ""), facts=about)
