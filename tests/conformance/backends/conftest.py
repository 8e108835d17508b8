# SPDX-License-Identifier: Apache-2.0
"""A server and a client for each module, on a repository that the module fills."""

import pytest
from tritonclient import grpc

from repo_tool.triton import EmbeddedServer, ServerOptions


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with grpc.InferenceServerClient(server.grpc_url) as connected:
        yield connected
