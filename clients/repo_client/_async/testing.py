# SPDX-License-Identifier: Apache-2.0
"""Transports for tests: a server in memory, a recorder in front of a real one, and what it recorded."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from repo_client._async.transport import AsyncTransport, open_transport
from repo_client._contract import Contract
from repo_client._documents import Document
from repo_client._errors import RepoClientError
from repo_client._in_memory import Answering, Call, InMemoryModel, InMemoryServer, no_regions
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import ConnectionOptions, Tls, Token, TransportOptions
from repo_client._recordings import (
    Outcome,
    Recording,
    Requests,
    Tape,
    load_document,
    no_regions_recorded,
    read_response,
    response_document,
)
from repo_client._signatures import ModelSignature
from repo_client._urls import parse_url


class AsyncInMemoryTransport:
    """A server in memory that answers from signatures: ``AsyncClient("grpc://nowhere", transport=...)``.

    Args:
        models: the models that it serves: signatures, contracts of generated clients (``Digits.contract``), or with
            an answer of their own.
        answer: of the models that are given without one; see ``InMemoryModel``.
        failures: how the calls end from the first on, whatever they are; ``None``: it works, as all do afterwards.
    """

    def __init__(
        self,
        *models: ModelSignature | Contract | InMemoryModel,
        answer: Answering = None,
        failures: Iterable[RepoClientError | None] = (),
    ) -> None:
        self._server = InMemoryServer(models, answer, failures)
        self.closed = False

    @property
    def calls(self) -> list[Call]:
        """All calls, in their order."""
        return self._server.calls

    def fail(self, *errors: RepoClientError | None) -> None:
        """Let the next calls fail, one with each error; ``None`` is a call that works."""
        self._server.fail(errors)

    async def is_live(self, *, timeout_s: float) -> bool:
        self._server.note("is_live", timeout_s)
        return True

    async def is_ready(self, *, timeout_s: float) -> bool:
        self._server.note("is_ready", timeout_s)
        return True

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        self._server.note("is_model_ready", timeout_s, model=name, version=version)
        return self._server.is_model_ready(name, version)

    async def server_metadata(self, *, timeout_s: float) -> Document:
        self._server.note("server_metadata", timeout_s)
        return {"name": "in memory", "version": "0", "extensions": []}

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        self._server.note("metadata", timeout_s, model=name, version=version)
        return self._server.metadata(name, version)

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        self._server.note("config", timeout_s, model=name, version=version)
        return self._server.config(name, version)

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        return self._server.infer(request, timeout_s)

    async def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        for response in self._server.stream(request, timeout_s):
            yield response

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        self._server.note("load", timeout_s, model=name, options={"config": config, "files": dict(files)})
        self._server.load(name, config)

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        self._server.note("unload", timeout_s, model=name, options={"dependents": dependents})
        self._server.unload(name)

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        self._server.note("repository_index", timeout_s)
        return self._server.repository_index()

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        self._server.note("statistics", timeout_s, model=name, version=version)
        return self._server.statistics(name, version)

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        raise no_regions()

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        return []

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        raise no_regions()

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


class AsyncRecorder:
    """Writes down what ``transport`` answers; ``close``, also by its client, replaces the file at ``path``.

    Everything that a model was sent and gave is in the file: record no secrets. Headers and tokens are not written.

    Raises:
        InputError: ``path`` is in a folder that is not there.
    """

    def __init__(self, transport: AsyncTransport, path: Path | str) -> None:
        self._transport = transport
        self._tape = Tape(Path(path))
        self._requests = Requests()

    @classmethod
    def to(
        cls,
        url: str,
        path: Path | str,
        *,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        tls: Tls | None = None,
        connection: ConnectionOptions | None = None,
    ) -> Self:
        """A recorder in front of the server at ``url``; see ``AsyncClient`` for the other arguments."""
        options = TransportOptions(
            headers=headers or {}, token=token, tls=tls, connection=connection or ConnectionOptions()
        )
        return cls(open_transport(parse_url(url), options), path)

    async def _recorded(
        self, call: str, arguments: Document, ask: Callable[..., Awaitable[Any]], *positional: Any, **options: Any
    ) -> Any:
        end = self._tape.begin(call, arguments)
        try:
            value = await ask(*positional, **options)
        except RepoClientError as error:
            end(Outcome(error=error))
            raise
        end(Outcome(value=value))
        return value

    async def is_live(self, *, timeout_s: float) -> bool:
        live: bool = await self._recorded("is_live", {}, self._transport.is_live, timeout_s=timeout_s)
        return live

    async def is_ready(self, *, timeout_s: float) -> bool:
        ready: bool = await self._recorded("is_ready", {}, self._transport.is_ready, timeout_s=timeout_s)
        return ready

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        arguments = {"model": name, "version": version}
        ask = self._transport.is_model_ready
        ready: bool = await self._recorded("is_model_ready", arguments, ask, name, version, timeout_s=timeout_s)
        return ready

    async def server_metadata(self, *, timeout_s: float) -> Document:
        ask = self._transport.server_metadata
        document: Document = await self._recorded("server_metadata", {}, ask, timeout_s=timeout_s)
        return document

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        arguments = {"model": name, "version": version}
        ask = self._transport.metadata
        document: Document = await self._recorded("metadata", arguments, ask, name, version, timeout_s=timeout_s)
        return document

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        arguments = {"model": name, "version": version}
        ask = self._transport.config
        document: Document = await self._recorded("config", arguments, ask, name, version, timeout_s=timeout_s)
        return document

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        end = self._tape.begin("infer", self._requests.document(request))
        try:
            response = await self._transport.infer(request, timeout_s=timeout_s)
        except RepoClientError as error:
            end(Outcome(error=error))
            raise
        end(Outcome(value=response_document(response)))
        return response

    async def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        end, given = self._tape.begin("stream", self._requests.document(request)), []
        answers: Any = self._transport.stream(request, timeout_s=timeout_s)
        try:
            async with aclosing(answers) as responses:
                async for response in responses:
                    given.append(response_document(response))
                    yield response
        except RepoClientError as error:
            end(Outcome(value=given, error=error))
            raise
        except BaseException:
            end(Outcome(value=given, left=True))
            raise
        end(Outcome(value=given))

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        arguments, ask = load_document(name, config, files), self._transport.load
        await self._recorded("load", arguments, ask, name, config=config, files=files, timeout_s=timeout_s)

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        arguments, ask = {"model": name, "dependents": dependents}, self._transport.unload
        await self._recorded("unload", arguments, ask, name, dependents=dependents, timeout_s=timeout_s)

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        ask = self._transport.repository_index
        entries: Sequence[Document] = await self._recorded("repository_index", {}, ask, timeout_s=timeout_s)
        return entries

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        arguments, ask = {"model": name, "version": version}, self._transport.statistics
        models: Sequence[Document] = await self._recorded(
            "statistics", arguments, ask, name, version, timeout_s=timeout_s
        )
        return models

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        raise no_regions_recorded()

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        return []

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        raise no_regions_recorded()

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def close(self) -> None:
        try:
            self._tape.write()
        finally:
            await self._transport.close()


class AsyncReplay:
    """Answers as an ``AsyncRecorder`` of either side has written it down, without a server.

    A call that was made more than once is answered in the order in which they began then, and from the last time on
    always the same.

    Raises:
        InputError: there is no recording at ``path``.
    """

    def __init__(self, path: Path | str) -> None:
        self._recording = Recording(Path(path))
        self._requests = Requests()

    async def is_live(self, *, timeout_s: float) -> bool:
        return bool(self._recording.value("is_live", {}))

    async def is_ready(self, *, timeout_s: float) -> bool:
        return bool(self._recording.value("is_ready", {}))

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        return bool(self._recording.value("is_model_ready", {"model": name, "version": version}))

    async def server_metadata(self, *, timeout_s: float) -> Document:
        document: Document = self._recording.value("server_metadata", {})
        return document

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        document: Document = self._recording.value("metadata", {"model": name, "version": version})
        return document

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        document: Document = self._recording.value("config", {"model": name, "version": version})
        return document

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        return read_response(self._recording.value("infer", self._requests.document(request)), request.request_id)

    async def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        outcome = self._recording.outcome("stream", self._requests.document(request))
        for document in outcome.value:
            yield read_response(document, request.request_id)
        self._recording.check_end(outcome)

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        self._recording.value("load", load_document(name, config, files))

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        self._recording.value("unload", {"model": name, "dependents": dependents})

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        entries: Sequence[Document] = self._recording.value("repository_index", {})
        return entries

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        models: Sequence[Document] = self._recording.value("statistics", {"model": name, "version": version})
        return models

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        raise no_regions_recorded()

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        return []

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        raise no_regions_recorded()

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        pass

    async def close(self) -> None:
        pass
