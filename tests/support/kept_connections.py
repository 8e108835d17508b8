# SPDX-License-Identifier: Apache-2.0
"""HTTP clients that keep their connections, each in a thread of its own, and tell how every request of theirs ended."""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from support.open_loop import WIDTH

_LIMIT_S = 60.0  # longer than any drain takes


def body_of(value: float) -> bytes:
    """One row that is ``value`` throughout."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": [value] * WIDTH}
    return json.dumps({"inputs": [tensor]}).encode()


def request_of(model: str, value: float) -> bytes:
    """The bytes of one request on a connection that is kept."""
    body = body_of(value)
    return (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


def connected(url: str) -> socket.socket:
    """A connection that nothing has been sent on."""
    host, _, port = url.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_LIMIT_S)


@dataclass
class Told:
    """What the clients have seen, all of them together."""

    answered: int = 0
    told_to_leave: int = 0  # answers that said "Connection: close"
    refused: int = 0  # new connections that nobody took any more; nothing was sent on them
    failed: list[str] = field(default_factory=list)  # requests without their answer, and wrong answers
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, amount: int = 1) -> None:
        with self.lock:
            setattr(self, name, getattr(self, name) + amount)

    def fail(self, words: str) -> None:
        with self.lock:
            self.failed.append(words)


def answer_on(connection: http.client.HTTPConnection, model: str, value: float, told: Told, *, version: int) -> bool:
    """Ask and check; whether the connection may be used once more."""
    asked = time.monotonic()
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body_of(value))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        told.fail(f"{model}: {error!r} after {time.monotonic() - asked:.3f} s")
        return False
    if response.status != 200 or answer["outputs"][0]["data"] != [value + version] * WIDTH:
        told.fail(f"{model}: {response.status} {answer}")
    else:
        told.note("answered")
    leaves = response.getheader("Connection", "").lower() == "close"
    told.note("told_to_leave", leaves)
    return not leaves


def keep_asking(url: str, model: str, *, version: int, think_s: float, seed: int, told: Told) -> None:
    """Ask one thing after the other until nobody takes a connection any more."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    while True:
        connection = http.client.HTTPConnection(url, timeout=_LIMIT_S)
        try:
            connection.connect()
        except OSError:
            told.note("refused")
            return
        while answer_on(connection, model, float(chance.randrange(1000)), told, version=version):
            time.sleep(chance.random() * 2 * think_s)  # what the client does with an answer
        connection.close()


def in_threads(clients: list[Callable[[], None]]) -> list[threading.Thread]:
    """Each client in a thread that has begun."""
    threads = [threading.Thread(target=client, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    return threads
