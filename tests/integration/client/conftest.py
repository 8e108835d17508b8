# SPDX-License-Identifier: Apache-2.0
"""One real server with Python models, and all four clients of it behind one blocking face."""

import asyncio
import inspect
import shutil
from pathlib import Path

import pytest

from repo_client import AsyncAdmin, AsyncClient, AsyncModel, Client
from repo_tool.triton.server import EmbeddedServer, ServerOptions

VARIANTS = ("sync-grpc", "async-grpc", "sync-http", "async-http")


class Blocking:
    """Anything of the async side, called like its blocking twin."""

    def __init__(self, target, runner):
        self._target, self._runner = target, runner

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if isinstance(value, AsyncAdmin):
            return Blocking(value, self._runner)
        return self._call(value) if inspect.iscoroutinefunction(value) else value

    def _call(self, method):
        def run(*arguments, **options):
            result = self._runner.run(method(*arguments, **options))
            return Blocking(result, self._runner) if isinstance(result, AsyncModel) else result

        return run


class Opener:
    """Opens clients of any variant, and closes them in the end."""

    def __init__(self):
        self._runners, self._clients = [], []

    def open(self, variant, *, grpc_url, http_url, secure=False):
        side, protocol = variant.split("-")
        scheme = f"{protocol}s" if secure else protocol
        url = f"{scheme}://{grpc_url if protocol == 'grpc' else http_url}"
        client = Client(url) if side == "sync" else self._open_async(url)
        self._clients.append(client)
        return client

    def _open_async(self, url):
        runner = asyncio.Runner()
        self._runners.append(runner)
        return Blocking(AsyncClient(url), runner)

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
