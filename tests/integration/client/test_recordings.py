# SPDX-License-Identifier: Apache-2.0
"""What a real server answers, recorded by all four clients and replayed by any."""

import asyncio

import numpy as np
import pytest

from repo_client import AsyncClient, Client, ExecutionError, ModelNotFoundError
from repo_client.testing import AsyncRecorder, AsyncReplay, Recorder, Replay

IMAGE = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
LARGE = np.random.default_rng(7).standard_normal((300, 512)).astype(np.float32)  # 614,400 bytes: otherwise shared


def use(client):
    """What is asked of the server, and of the recording."""
    rows, echo, moody = map(client.model, ("rows", "echo", "moody"))
    answer = rows.infer({"image": IMAGE})
    sent = {"in_STRING": [["ü", b"\xff"]], "in_FP64": np.array([[np.nan, -0.0, np.inf]]), "in_INT8": np.zeros((0, 2))}
    sent["in_INT8"] = sent["in_INT8"].astype(np.int8)
    everything = echo.infer(sent, outputs=["out_STRING", "out_FP64", "out_INT8"])
    large = echo.infer({"in_FP32": LARGE}, outputs=["out_FP32"])["out_FP32"]
    with pytest.raises(ExecutionError) as broken:
        moody.infer({"seconds": -1.0}, request_id="r-1")
    with pytest.raises(ModelNotFoundError) as missing:
        client.model("nothing_here")
    admin = client.admin
    return (
        answer["total"].tolist(),
        answer["label"].tolist(),
        everything["out_STRING"].tolist(),
        everything["out_FP64"].tobytes(),
        everything["out_INT8"].shape,
        large.tobytes(),
        str(broken.value),
        broken.value.server_words,
        str(missing.value),
        admin.config("rows"),
        admin.server_metadata(),
        admin.repository_index(),
        admin.is_model_ready("rows"),
        admin.is_live(),
    )


@pytest.fixture
def open_with(opener, client_server, variant):
    """Opens a client of this variant over a recorder or a replay; a path without a server replays."""

    def open_with(path, *, is_recorded):
        side, protocol = variant.split("-")
        url = f"{protocol}://{getattr(client_server, f'{protocol}_url')}"
        recorder, replay = (Recorder, Replay) if side == "sync" else (AsyncRecorder, AsyncReplay)
        transport = recorder.to(url, path) if is_recorded else replay(path)
        return opener.open(
            variant, grpc_url=client_server.grpc_url, http_url=client_server.http_url, transport=transport
        )

    return open_with


def test_what_a_server_answered_is_answered_again_without_it(open_with, tmp_path):
    path = tmp_path / "calls.jsonl"
    client = open_with(path, is_recorded=True)
    real = use(client)
    client.close()
    assert use(open_with(path, is_recorded=False)) == real
    assert real[5] == LARGE.tobytes()


def test_a_stream_is_recorded_as_far_as_it_was_taken(tmp_path, client_server):
    """Streams of a model that is not decoupled have one answer; those that are left early as many as were taken."""
    url, path = f"grpc://{client_server.grpc_url}", tmp_path / "calls.jsonl"

    async def record():
        async with AsyncClient(url, transport=AsyncRecorder.to(url, path)) as client:
            return [answer["total"].tolist() async for answer in (await client.model("rows")).stream({"image": IMAGE})]

    real = asyncio.run(record())
    with Client("grpc://nowhere", transport=Replay(path)) as client:
        assert [answer["total"].tolist() for answer in client.model("rows").stream({"image": IMAGE})] == real
    assert len(real) == 1
