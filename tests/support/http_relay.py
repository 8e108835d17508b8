# SPDX-License-Identifier: Apache-2.0
"""A relay in front of a real server, for what a server on the same machine never does: TLS, proxies, bad weather."""

import re
import socket
import ssl
import threading
from contextlib import suppress


class Relay:
    """Carries bytes between clients and ``target`` (``host:port``), and remembers them.

    With ``tls`` it ends the clients' TLS; with ``is_proxy`` it first reads CONNECT, as an HTTP proxy does. With a
    ``drip`` answers arrive byte by byte, with so many seconds between them.
    """

    def __init__(self, target, *, tls=None, is_proxy=False, drip=None, at="127.0.0.1"):
        host, _, port = target.rpartition(":")
        self._target, self._tls, self._is_proxy, self._drip = (host, int(port)), tls, is_proxy, drip
        family = socket.AF_INET6 if ":" in at else socket.AF_INET
        self._listener = socket.create_server((at, 0), family=family)
        self._over, self._reading = threading.Event(), threading.Event()
        self._reading.set()
        self._open, self._lock = set(), threading.Lock()
        self.address = f"{f'[{at}]' if ':' in at else at}:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.asked, self.answered = bytearray(), bytearray()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._reading.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self):
        """Close all connections, as a server does with those that idle."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def stop_reading(self):
        """Take nothing more from clients, on connections that are and that come."""
        self._reading.clear()

    def headers(self, name):
        """The values of a header in all requests so far."""
        return [found.decode() for found in re.findall(rf"(?mi)^{name}: ([^\r]*)".encode(), bytes(self.asked))]

    def _accept(self):
        while not self._over.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with suppress(OSError), client, socket.create_connection(self._target) as server:  # an SSLError is an OSError
            if self._is_proxy:
                client = self._begin_tunnel(client)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._carry_both_ways(client, server)

    def _begin_tunnel(self, client):
        """Answer CONNECT; any other request is left for the server, which takes whole addresses too."""
        if client.recv(8, socket.MSG_PEEK) == b"CONNECT ":
            while not self.asked.endswith(b"\r\n\r\n"):
                self.asked += client.recv(1)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client

    def _carry_both_ways(self, client, server):
        with self._lock:
            self._open |= {client, server}
            self.connections += 1
        back = threading.Thread(target=self._carry, args=(server, client, self.answered, self._drip), daemon=True)
        back.start()
        self._carry(client, server, self.asked, None)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()

    def _carry(self, source, drain, memory, drip):
        with suppress(OSError):
            while data := source.recv(1 if drip else 65_536):
                memory += data
                self._reading.wait()
                drain.sendall(data)
                if drip:
                    self._over.wait(drip)
        for each in (source, drain):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class CannedServer:
    """Answers the first request of every connection as ``answer`` does with its bytes, and hangs up.

    With ``reads_on=False`` it hangs up on whatever has not been read by then.
    """

    def __init__(self, answer, *, reads_on=True):
        self._answer, self._reads_on = answer, reads_on
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    client.sendall(self._answer(client.recv(65_536)))
                    client.shutdown(socket.SHUT_WR)
                    while self._reads_on and client.recv(65_536):
                        pass


def server_context(own, *, clients=None):
    """The server's side of TLS with the certificate ``own``; with ``clients`` it asks for one that they signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate)
    return context
