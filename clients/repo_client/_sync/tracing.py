# SPDX-License-Identifier: Apache-2.0
# Generated from _async/tracing.py by clients/generate_sync.py: change that file, then run it.
"""The links of the chain that put each call into a span of OpenTelemetry."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from repo_client._messages import InferRequest, InferResponse
from repo_client._sync.transport import Infer
from repo_client._tracing import CallSpans
from repo_client._urls import Url


def traced(infer: Infer, url: Url) -> Infer:
    """``infer``, each call in a span whose ``traceparent`` goes along; tries of one call share it.

    Raises:
        InputError: OpenTelemetry is not installed.
    """
    spans = CallSpans(url)

    def infer_in_span(request: InferRequest, *, timeout_s: float) -> InferResponse:
        with spans.call(request) as span:
            response = infer(span.request, timeout_s=timeout_s)
            span.answered(response)
            return response

    return infer_in_span


def traced_stream(stream: Callable[..., Any], url: Url) -> Callable[..., Generator[InferResponse, None]]:
    """``stream`` of a transport, each in a span from the first answer asked for to the last.

    Raises:
        InputError: OpenTelemetry is not installed.
    """
    spans = CallSpans(url)

    def stream_in_span(request: InferRequest, *, timeout_s: float) -> Generator[InferResponse, None]:
        with spans.stream(request) as span:
            responses = stream(span.request, timeout_s=timeout_s)
            with closing(responses):
                for response in responses:
                    span.answered(response)
                    yield response

    return stream_in_span
