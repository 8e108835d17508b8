# SPDX-License-Identifier: Apache-2.0
"""For the tests of those who use ``repo_client``: transports without a server, of both sides.

::

    digits = model_signature("digits", inputs={"image": ("FP32", [-1, 64])}, outputs={"label": ("INT64", [-1])})
    transport = InMemoryTransport(digits, answer=lambda inputs: {"label": inputs["image"].argmax(axis=1)})
    with Client("grpc://nowhere", transport=transport) as client:
        ...
    assert transport.calls[-1].inputs["image"].shape == (3, 64)

``Recorder.to("grpc://127.0.0.1:8001", "digits.jsonl")`` is a transport that writes down what a real server answers, and
``Replay("digits.jsonl")`` one that answers the same without it.
"""

from repo_client._async.testing import AsyncInMemoryTransport, AsyncRecorder, AsyncReplay
from repo_client._errors import NotRecordedError
from repo_client._in_memory import Answering, Call, InMemoryModel, model_signature
from repo_client._sync.testing import InMemoryTransport, Recorder, Replay

__all__ = [
    "Answering",
    "AsyncInMemoryTransport",
    "AsyncRecorder",
    "AsyncReplay",
    "Call",
    "InMemoryModel",
    "InMemoryTransport",
    "NotRecordedError",
    "Recorder",
    "Replay",
    "model_signature",
]
