# SPDX-License-Identifier: Apache-2.0
"""A TCP connection through the test: what a client and its server say to each other, byte by byte."""

import socket
import threading
from contextlib import contextmanager, suppress


class Relay:
    """Passes on whatever comes to ``address``, and keeps it."""

    def __init__(self, target):
        self.sent, self.received = bytearray(), bytearray()
        self._target = target.rsplit(":", 1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._target[0], int(self._target[1])))
                self._sockets += [client, server]
                for ends in ((client, server, self.sent), (server, client, self.received)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()

    def close(self):
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _pass_on(source, target, kept):
    with suppress(OSError):
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(target):
    """A relay to ``target`` (host:port)."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
