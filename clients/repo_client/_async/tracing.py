# SPDX-License-Identifier: Apache-2.0
"""The links of the chain that put each call into a span of OpenTelemetry."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from repo_client._async.transport import AsyncInfer
from repo_client._messages import InferRequest, InferResponse
from repo_client._tracing import CallSpans
from repo_client._urls import Url


def traced(infer: AsyncInfer, url: Url) -> AsyncInfer:
    """``infer``, each call in a span whose ``traceparent`` goes along; tries of one call share it.

    Raises:
        InputError: OpenTelemetry is not installed.
    """
    spans = CallSpans(url)

    async def infer_in_span(request: InferRequest, *, timeout_s: float) -> InferResponse:
        with spans.call(request) as span:
            response = await infer(span.request, timeout_s=timeout_s)
            span.answered(response)
            return response

    return infer_in_span


def traced_stream(stream: Callable[..., Any], url: Url) -> Callable[..., AsyncGenerator[InferResponse, None]]:
    """``stream`` of a transport, each in a span from the first answer asked for to the last.

    Raises:
        InputError: OpenTelemetry is not installed.
    """
    spans = CallSpans(url)

    async def stream_in_span(request: InferRequest, *, timeout_s: float) -> AsyncGenerator[InferResponse, None]:
        with spans.stream(request) as span:
            responses = stream(span.request, timeout_s=timeout_s)
            async with aclosing(responses):
                async for response in responses:
                    span.answered(response)
                    yield response

    return stream_in_span
