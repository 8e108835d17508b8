# SPDX-License-Identifier: Apache-2.0
"""Triton itself reads and refuses what tests/support/text_cases.py says of texts on which two parsers may part."""

import re
import shutil

import pytest

from differential.server import VerdictServer
from support.text_cases import READ, REFUSED

MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    with VerdictServer(repository, backends={}) as running:
        yield running


@pytest.fixture
def verdict(server):
    """What becomes of a configuration of these bytes."""
    folders = []

    def asked(name, content):
        folder = server.repository / re.sub("[^a-zA-Z0-9]", "_", name)
        folders.append(folder)
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.py").write_text(MODEL)
        (folder / "config.pbtxt").write_bytes(content)
        found = server.verdict(folder.name)
        if server.is_running():
            return found
        server.restart()  # now and then it dies of a model that went before
        return server.verdict(folder.name)

    yield asked
    for folder in folders:
        server.unload(folder.name)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", READ)
def test_triton_reads_it(verdict, name):
    found = verdict(name, READ[name])
    assert found.loads, found.words


@pytest.mark.parametrize("name", REFUSED)
def test_triton_refuses_it(verdict, name):
    assert "failed to read text proto" in verdict(name, REFUSED[name]).words
