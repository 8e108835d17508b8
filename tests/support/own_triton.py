# SPDX-License-Identifier: Apache-2.0
"""A Triton started with options that the embedded server has none for: TLS, limits, memory shared with everyone."""

import time
from contextlib import contextmanager
from secrets import token_hex
from urllib.error import URLError
from urllib.request import urlopen

from repo_tool.triton.installation import find_installation
from repo_tool.triton.options import Ports, ServerOptions
from repo_tool.triton.ports import LOOPBACK, free_ports
from repo_tool.triton.process import ServerProcess


class _OwnProcess(ServerProcess):
    further = ()
    without = ()

    def _arguments(self, *arguments):
        usual = super()._arguments(*arguments)
        return [*(word for word in usual if not word.startswith(self.without)), *self.further]


@contextmanager
def own_triton(repository, *further, without=(), environment=None):
    """Host and port of the gRPC and of the HTTP service; ``without`` are the beginnings of usual options to drop.

    ``environment`` is added to the server's.
    """
    http, grpc, metrics = free_ports(3)
    kind = type("OwnProcess", (_OwnProcess,), {"further": further, "without": tuple(without)})
    ports = Ports(http=http, grpc=grpc, metrics=metrics)
    options = ServerOptions(graceful_stop_s=0, environment=environment or {})
    process = kind(find_installation(), repository, options, ports, control_key=token_hex(16))
    try:
        _wait_until_live(process, f"http://{LOOPBACK}:{http}/v2/health/live")
        yield f"{LOOPBACK}:{grpc}", f"{LOOPBACK}:{http}"
    finally:
        process.stop(grace_s=0)


def _wait_until_live(process, url, *, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.is_running(), process.log.last_words()
        try:
            with urlopen(url, timeout=1):  # a literal address of this machine
                return
        except (URLError, OSError):
            time.sleep(0.02)  # between two looks of a poll with a deadline
    raise AssertionError("Triton did not answer in time")
