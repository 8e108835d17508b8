# SPDX-License-Identifier: Apache-2.0
"""One real server with Python models, and all four clients of it behind one blocking face."""

import asyncio
import inspect
import shutil
from pathlib import Path

import pytest

from repo_client import AsyncAdmin, AsyncClient, AsyncModel, AsyncModelSequence, Client
from repo_tool.triton.server import EmbeddedServer, ServerOptions

VARIANTS = ("sync-grpc", "async-grpc", "sync-http", "async-http")


ASYNC = (AsyncAdmin, AsyncModel, AsyncModelSequence)
END = object()


class Blocking:
    """Anything of the async side, called like its blocking twin."""

    def __init__(self, target, runner):
        self._target, self._runner = target, runner

    def __getattr__(self, name):
        return self._settled(getattr(self._target, name))

    def __enter__(self):
        return self._settled(self._target.__aenter__())

    def __exit__(self, *error):
        return self._settled(self._target.__aexit__(*error))

    def _settled(self, result):
        if inspect.iscoroutine(result):
            result = self._runner.run(result)
        if isinstance(result, ASYNC):
            return Blocking(result, self._runner)
        if inspect.isasyncgen(result):
            return self._pulled(result)
        return self._calling(result) if inspect.isroutine(result) else result

    def _calling(self, method):
        return lambda *arguments, **options: self._settled(method(*arguments, **options))

    def _pulled(self, answers):
        async def pull():
            return await anext(answers, END)

        try:
            while (answer := self._runner.run(pull())) is not END:
                yield answer
        finally:
            self._runner.run(answers.aclose())


class Opener:
    """Opens clients of any variant, and closes them in the end."""

    def __init__(self):
        self._runners, self._clients = [], []

    def open(self, variant, *, grpc_url, http_url, secure=False, **options):
        side, protocol = variant.split("-")
        scheme = f"{protocol}s" if secure else protocol
        url = f"{scheme}://{grpc_url if protocol == 'grpc' else http_url}"
        client = Client(url, **options) if side == "sync" else self._open_async(url, options)
        self._clients.append(client)
        return client

    def _open_async(self, url, options):
        runner = asyncio.Runner()
        self._runners.append(runner)
        return Blocking(AsyncClient(url, **options), runner)

    def close(self):
        for client in self._clients:
            client.close()
        for runner in self._runners:
            runner.close()


@pytest.fixture(scope="module")
def client_repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("client") / "repository"
    shutil.copytree(Path(__file__).parent / "repository", path)
    return path


@pytest.fixture(scope="module")
def client_server(client_repository):
    with EmbeddedServer(client_repository, ServerOptions(graceful_stop_s=0)) as server:
        outcomes = server.load_all(["echo", "moody", "picture", "rows"])
        assert [outcome.refusal for outcome in outcomes] == [None] * 4
        yield server


@pytest.fixture
def opener():
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture
def client(client_server, opener, variant):
    return opener.open(variant, grpc_url=client_server.grpc_url, http_url=client_server.http_url)
