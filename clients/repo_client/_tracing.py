# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry spans of calls, with names and attributes of the semantic conventions, and ours for Triton. No I/O."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from repo_client._errors import InputError, RepoClientError
from repo_client._messages import InferRequest, InferResponse, WireTensor
from repo_client._urls import Url

_Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """The name of all spans of one protocol's calls, and the attributes that they share."""

    name: str
    attributes: _Attributes


# https://opentelemetry.io/docs/specs/semconv/rpc/ and .../http/http-spans/
_RPC = "inference.GRPCInferenceService/{}"
_UNARY = _Kind(
    name=_RPC.format("ModelInfer"),
    attributes={"rpc.system.name": "grpc", "rpc.method": _RPC.format("ModelInfer")},
)
_STREAM = _Kind(
    name=_RPC.format("ModelStreamInfer"),
    attributes={"rpc.system.name": "grpc", "rpc.method": _RPC.format("ModelStreamInfer")},
)
_POST = _Kind(
    name="POST /v2/models/{model}/infer",
    attributes={"http.request.method": "POST", "url.template": "/v2/models/{model}/infer"},
)


class CallSpan:
    """The span of one call; ``request`` carries its ``traceparent``."""

    def __init__(self, span: Any, request: InferRequest) -> None:
        self.request = request
        self.span = span
        self._responses = self._bytes = 0

    def answered(self, response: InferResponse) -> None:
        """Note one response; a stream has many."""
        self._responses += 1
        self._bytes += sum(map(_size, response.outputs))
        self.span.set_attributes(
            {
                "triton.model.version": response.version,
                "triton.response.count": self._responses,
                "triton.response.tensor_bytes": self._bytes,
            }
        )

    def failed(self, error: BaseException) -> None:
        """Note how the call ended otherwise."""
        from opentelemetry.trace import StatusCode

        words = error.fact if isinstance(error, RepoClientError) else str(error)
        self.span.set_attribute("error.type", type(error).__name__)
        self.span.set_status(StatusCode.ERROR, words)
        self.span.record_exception(error)

    def end(self) -> None:
        """The call is over."""
        self.span.end()


class CallSpans:
    """Makes the spans of the calls to one server, with whatever tracer provider the program has set."""

    def __init__(self, url: Url) -> None:
        """Find OpenTelemetry.

        Raises:
            InputError: it is not installed.
        """
        try:
            from opentelemetry import trace
        except ModuleNotFoundError as error:
            hint = "pip install 'triton-repo-client[tracing]'"
            raise InputError("tracing needs the package opentelemetry-api", hint=hint) from error
        host, _, port = url.address.rpartition(":")
        self._tracer = trace.get_tracer("repo_client")
        self._server: _Attributes = {"server.address": host.strip("[]"), "server.port": int(port)}
        self._unary = _UNARY if url.is_grpc else _POST

    @contextmanager
    def call(self, request: InferRequest) -> Iterator[CallSpan]:
        """The span of one call, the current one while it runs."""
        from opentelemetry.trace import use_span

        span = self._begin(self._unary, request)
        try:
            # Errors are told in failed() instead: it knows their words, and that cancelling is one too.
            with use_span(span.span, record_exception=False, set_status_on_exception=False):
                yield span
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            span.end()

    @contextmanager
    def stream(self, request: InferRequest) -> Iterator[CallSpan]:
        """The span of one stream; not the current one, because the caller's own code runs in between."""
        span = self._begin(_STREAM, request)
        try:
            yield span
        except GeneratorExit:  # the caller has had enough of it
            raise
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            span.end()

    def _begin(self, kind: _Kind, request: InferRequest) -> CallSpan:
        from opentelemetry import propagate, trace

        attributes = {
            **kind.attributes,
            **self._server,
            "triton.model.name": request.model,
            "triton.request.tensor_bytes": sum(map(_size, request.inputs)),
            **({"triton.model.version": request.version} if request.version else {}),
            **({"triton.request.id": request.request_id} if request.request_id else {}),
        }
        span = self._tracer.start_span(kind.name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        kept = {name: value for name, value in request.headers.items() if name.lower() not in carrier}
        return CallSpan(span, replace(request, headers=kept | carrier))


def _size(tensor: WireTensor) -> int:
    if tensor.slice is not None:
        return tensor.slice.byte_size
    return tensor.data.nbytes if isinstance(tensor.data, memoryview) else len(tensor.data)
