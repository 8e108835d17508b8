# SPDX-License-Identifier: Apache-2.0
"""One real server of the committed repository and of odd models, and the clients generated for both."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from repo_tool.triton.server import EmbeddedServer, ServerOptions
from repo_tool.workflows.generate_clients import GenerateRequest, generate_clients
from support.odd_models import write_odd_models

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def served_repository(tmp_path_factory):
    """The models of ``model_repository`` and the odd ones, in one folder of that name."""
    path = tmp_path_factory.mktemp("client_code") / "model_repository"
    shutil.copytree(ROOT / "model_repository", path)
    write_odd_models(path)
    return path


@pytest.fixture(scope="session")
def code_server(served_repository):
    """A server that has all of them loaded."""
    with EmbeddedServer(served_repository, ServerOptions(graceful_stop_s=0)) as server:
        outcomes = server.load_all()
        assert [outcome for outcome in outcomes if outcome.refusal] == []
        yield server


@pytest.fixture(scope="session")
def generated(served_repository, tmp_path_factory):
    """The clients of all of them: the file, and the module that it is."""
    path = tmp_path_factory.mktemp("generated") / "generated_clients.py"
    path.write_text(generate_clients(GenerateRequest(repository=served_repository)), encoding="utf-8")
    return SimpleNamespace(path=path, module=imported(path))


def imported(path):
    """The module in a file, as ``import`` would give it."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module  # where dataclasses look for it
    specification.loader.exec_module(module)
    return module
