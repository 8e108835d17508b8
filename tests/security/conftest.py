# SPDX-License-Identifier: Apache-2.0
"""What shows that a file did something: a file that it would make, and a socket that it would call."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, kw_only=True)
class Canary:
    """Alive as long as nothing ran."""

    file: Path
    listener: socket.socket

    @property
    def command(self):
        return f"touch {self.file}; exec 3<>/dev/tcp/127.0.0.1/{self.listener.getsockname()[1]}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"

    def assert_alive(self):
        assert not self.file.exists(), "it executed"
        with suppress(BlockingIOError):
            self.listener.accept()
            raise AssertionError("it opened a socket")


@pytest.fixture
def canary(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        alive = Canary(file=tmp_path / "canary", listener=listener)
        yield alive
        alive.assert_alive()
