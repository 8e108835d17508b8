# SPDX-License-Identifier: Apache-2.0
"""Triton's HTTP protocol with binary tensors, see ``_http_messages``."""

from collections.abc import AsyncIterator, Mapping, Sequence

from repo_client._async.http_exchange import AsyncHttpExchange
from repo_client._documents import Document
from repo_client._errors import Facts
from repo_client._http_messages import (
    Reply,
    accept,
    cuda_region_body,
    from_reply,
    load_body,
    load_path,
    model_path,
    no_streams,
    read_list,
    read_named,
    region_body,
    region_path,
    to_body,
    unload_body,
    unload_path,
)
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import TransportOptions
from repo_client._urls import Url

_NOTHING = Facts()


class AsyncHttpTransport:
    """See ``AsyncTransport``."""

    def __init__(self, url: Url, options: TransportOptions) -> None:
        options.check(url)
        self._exchange = AsyncHttpExchange(url, options)

    async def _get(self, path: str, timeout_s: float, facts: Facts = _NOTHING) -> Reply:
        return await self._exchange.send("GET", path, timeout_s=timeout_s, facts=facts)

    async def _post(self, path: str, timeout_s: float, facts: Facts = _NOTHING, *, body: bytes = b"{}") -> Reply:
        return await self._exchange.send("POST", path, body=(body,), timeout_s=timeout_s, facts=facts)

    async def is_live(self, *, timeout_s: float) -> bool:
        return (await self._get("/v2/health/live", timeout_s)).status == 200

    async def is_ready(self, *, timeout_s: float) -> bool:
        return (await self._get("/v2/health/ready", timeout_s)).status == 200

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        return (await self._get(model_path(name, version, "/ready"), timeout_s)).status == 200

    async def server_metadata(self, *, timeout_s: float) -> Document:
        return read_named(await self._get("/v2", timeout_s), _NOTHING)

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        facts = Facts(model=name, version=version)
        return read_named(await self._get(model_path(name, version), timeout_s, facts), facts)

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        facts = Facts(model=name, version=version)
        return read_named(await self._get(model_path(name, version, "/config"), timeout_s, facts), facts)

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        facts = Facts(model=request.model, version=request.version, request_id=request.request_id)
        header, tensors = to_body(request)
        reply = await self._exchange.send(
            "POST",
            model_path(request.model, request.version, "/infer"),
            timeout_s=timeout_s,
            facts=facts,
            body=(header, *tensors),
            header_length=len(header),
            headers=request.headers,
        )
        return from_reply(reply, request, facts)

    def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        raise no_streams(request)

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        facts = Facts(model=name)
        accept(await self._post(load_path(name), timeout_s, facts, body=load_body(config, files)), facts)

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        facts = Facts(model=name)
        accept(await self._post(unload_path(name), timeout_s, facts, body=unload_body(dependents=dependents)), facts)

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        return read_list(await self._post("/v2/repository/index", timeout_s), _NOTHING)

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        facts = Facts(model=name or None, version=version or None)
        path = model_path(name, version, "/stats") if name else "/v2/models/stats"
        return read_list(await self._get(path, timeout_s, facts), facts, key="model_stats")

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        body = region_body(key, byte_size)
        accept(await self._post(region_path("system", name, "register"), timeout_s, body=body), _NOTHING)

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        accept(await self._post(region_path("system", name, "unregister"), timeout_s), _NOTHING)

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        return read_list(await self._get("/v2/systemsharedmemory/status", timeout_s), _NOTHING)

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        body = cuda_region_body(handle, device, byte_size)
        accept(await self._post(region_path("cuda", name, "register"), timeout_s, body=body), _NOTHING)

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        accept(await self._post(region_path("cuda", name, "unregister"), timeout_s), _NOTHING)

    async def close(self) -> None:
        await self._exchange.close()
