# SPDX-License-Identifier: Apache-2.0
"""What becomes of many calls and of failed ones, over a server in memory whose every call is seen."""

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_client import (
    Answer,
    AsyncClient,
    Client,
    ConnectionLostError,
    DeadlineExceededError,
    ExecutionError,
    InputError,
    LoadRefusedError,
    ModelNotFoundError,
    ModelUnhealthyError,
    RefusedRequestError,
    Retries,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from repo_client._errors import Facts
from repo_client.testing import AsyncInMemoryTransport, InMemoryModel, InMemoryTransport, model_signature

X = {"x": np.ones((1, 2), np.float32)}
AT_ONCE = Retries(first_wait_s=0)


def digits(*, max_batch_size=4):
    return model_signature(
        "digits",
        inputs={"x": ("FP32", [-1, 2])},
        outputs={"y": ("FP32", [-1, 2]), "rows": ("INT64", [-1])},
        max_batch_size=max_batch_size,
    )


def doubled(inputs):
    return {"y": inputs["x"] * 2, "rows": np.full(len(inputs["x"]), len(inputs["x"]))}


def in_memory(*, max_batch_size=4):
    return InMemoryTransport(digits(max_batch_size=max_batch_size), answer=doubled)


def infer_calls(transport):
    return [call for call in transport.calls if call.method == "infer"]


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), max_batch_size=st.integers(1, 9), max_in_flight=st.integers(1, 5))
def test_a_split_batch_answers_as_if_it_were_whole(rows, max_batch_size, max_in_flight):
    transport = in_memory(max_batch_size=max_batch_size)
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    with Client("grpc://nowhere", transport=transport) as client:
        answer = client.model("digits").infer_batch({"x": x}, max_in_flight=max_in_flight)
    np.testing.assert_array_equal(answer["y"], x * 2)
    assert not answer["y"].flags.writeable
    assert len(infer_calls(transport)) == -(-rows // max_batch_size)
    assert max(answer["rows"]) <= max_batch_size


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 30), max_in_flight=st.integers(1, 40))
def test_many_are_in_order_whatever_is_in_flight(count, max_in_flight):
    requests = [{"x": np.full((1, 2), number, np.float32)} for number in range(count)]
    with Client("grpc://nowhere", transport=in_memory()) as client:
        answers = client.model("digits").infer_many(requests, max_in_flight=max_in_flight, request_id="n")
        found = [(answer["y"][0, 0], answer.request_id) for answer in answers]
    assert found == [(number * 2, f"n/{number}") for number in range(count)]


INTERRUPTED = """
import os, signal, time
import numpy as np
from repo_client import Client
from repo_client.testing import InMemoryTransport, model_signature

def answer(inputs):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

signature = model_signature("digits", inputs={"x": ("FP32", [1])}, outputs={})
with Client("grpc://nowhere", transport=InMemoryTransport(signature, answer=answer)) as client:
    for _ in client.model("digits").infer_many([{"x": np.ones(1, np.float32)}]):
        pass
"""


def test_a_program_that_is_interrupted_does_not_wait_for_calls_under_way():
    command = [sys.executable, "-c", INTERRUPTED]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == -signal.SIGINT, ended.stderr


def refilled(buffer):
    for number in range(40):
        buffer[:] = number
        yield {"x": buffer}


def test_what_is_large_is_copied_before_the_next_is_read():
    buffer = np.empty((4, 2_500), np.float32)
    shape = {"x": ("FP32", [-1, 2_500])}
    signature = model_signature("digits", inputs=shape, outputs={"y": ("FP32", [-1, 2_500])}, max_batch_size=4)

    async def ask():
        transport = AsyncInMemoryTransport(signature, answer=lambda inputs: {"y": inputs["x"]})
        async with AsyncClient("grpc://nowhere", transport=transport) as client:
            model = await client.model("digits")
            return [set(answer["y"].ravel()) async for answer in model.infer_many(refilled(buffer))]

    transport = InMemoryTransport(signature, answer=lambda inputs: {"y": inputs["x"]})
    with Client("grpc://nowhere", transport=transport) as client:
        found = [set(answer["y"].ravel()) for answer in client.model("digits").infer_many(refilled(buffer))]
    assert found == asyncio.run(ask()) == [{number} for number in range(40)]


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (ServerUnreachableError, 2),
        (ConnectionLostError, 2),
        (ModelUnhealthyError, 2),
        (ServerBusyError, 2),
        (TlsError, 1),
        (InputError, 1),
        (RefusedRequestError, 1),
        (ModelNotFoundError, 1),
        (LoadRefusedError, 1),
        (ExecutionError, 1),
        (ServerError, 1),
        (UnexpectedAnswerError, 1),
        (DeadlineExceededError, 1),
    ],
)
@pytest.mark.parametrize("in_sequence", [False, True])
def test_only_what_is_safe_is_tried_again(kind, calls, in_sequence):
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
        model = client.model("digits")
        transport.fail(kind("no luck"))
        call = model.sequence(7).infer if in_sequence else model.infer
        if calls == 1 or in_sequence:
            with pytest.raises(kind, match=r"^no luck$"):
                call(X)
        else:
            assert isinstance(call(X), Answer)
    assert len(infer_calls(transport)) == (1 if in_sequence else calls)


def test_a_later_attempt_has_what_is_left_of_the_deadline():
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
        model = client.model("digits")
        transport.fail(ServerBusyError("full"), ServerBusyError("full"))
        model.infer(X, timeout_s=9.0)
    first, *later = infer_calls(transport)
    assert (first.timeout_s, first.request.timeout_us) == (9.0, 9_000_000)
    assert [call.timeout_s < 9.0 and call.request.timeout_us < 9_000_000 for call in later] == [True, True]


def test_a_failure_of_another_kind_ends_the_attempts():
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport, retries=Retries(attempts=9, first_wait_s=0)) as client:
        model = client.model("digits")
        transport.fail(ServerBusyError("full"), ExecutionError("broken"))
        with pytest.raises(ExecutionError, match=r"^broken \(2 attempts\)$") as caught:
            model.infer(X)
    assert (caught.value.attempts, caught.value.fact) == (2, "broken (2 attempts)")


def test_calls_that_succeed_earn_retries_for_those_that_do_not():
    transport, retries = in_memory(), Retries(attempts=101, first_wait_s=0, budget=0.25)
    with Client("grpc://nowhere", transport=transport, retries=retries) as client:
        model = client.model("digits")

        def attempts_of_a_failure():
            transport.fail(*[ServerBusyError("full")] * 101)
            with pytest.raises(ServerBusyError) as caught:
                model.infer(X)
            return caught.value.attempts

        assert attempts_of_a_failure() == 101
        transport.fail(ServerBusyError("full"))
        with pytest.raises(ServerBusyError, match=r"^full$"):
            model.infer(X)
        for _ in range(4):
            model.infer(X)
        transport.fail(ServerBusyError("full"))
        model.infer(X)


AWAY, LOADING = ServerUnreachableError("away"), ModelNotFoundError("not loaded yet")
UNLOADED = ModelNotFoundError("", facts=Facts(server_words="Request for unknown model: 'm' has no available versions"))
IMPATIENT = Retries(first_wait_s=0, patience_s=0)


@pytest.mark.parametrize(
    ("failures", "retries", "calls"),
    [
        ([AWAY] * 8, AT_ONCE, 9),
        ([ConnectionLostError("killed"), *[AWAY] * 4, *[LOADING] * 4], AT_ONCE, 10),
        ([ModelUnhealthyError("killed"), *[LOADING] * 4], AT_ONCE, 6),
        ([UNLOADED] * 8, AT_ONCE, 9),
        ([ConnectionLostError("it kills the server")] * 8, AT_ONCE, 3),
        ([ModelUnhealthyError("it kills its process")] * 8, AT_ONCE, 3),
        ([AWAY] * 8, IMPATIENT, 3),
        ([UNLOADED], IMPATIENT, 1),
        ([ConnectionLostError("killed"), LOADING], IMPATIENT, 2),
    ],
)
def test_a_server_that_was_there_is_waited_for_while_it_costs_nothing(failures, retries, calls):
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport, retries=retries) as client:
        model = client.model("digits")
        transport.fail(*failures)
        if calls > len(failures):
            assert isinstance(model.infer(X), Answer)
        else:
            with pytest.raises(type(failures[calls - 1])):
                model.infer(X)
    assert len(infer_calls(transport)) == calls


def test_a_server_that_was_never_there_is_not_waited_for():
    transport = in_memory()
    transport.fail(*[AWAY] * 8)
    client = Client("grpc://nowhere", transport=transport, retries=AT_ONCE)
    with client, pytest.raises(ServerUnreachableError, match=r"\(3 attempts\)"):
        client.model("digits")


def test_a_model_that_is_not_found_after_an_outage_is_told_at_once():
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
        model = client.model("digits")
        transport.fail(AWAY, AWAY, None, LOADING)
        model.infer(X)
        with pytest.raises(ModelNotFoundError, match=r"^not loaded yet$"):
            model.infer(X)


def unloaded(inputs):
    raise UNLOADED


def beside_an_unloaded_one():
    """The models of a server: ``digits``, which answers, and ``gone``."""
    gone = InMemoryModel(signature=replace(digits(), name="gone"), answer=unloaded)
    return InMemoryModel(signature=digits(), answer=doubled), gone


def test_a_model_that_was_waited_for_in_vain_is_not_waited_for_again_whatever_others_do():
    transport = InMemoryTransport(*beside_an_unloaded_one())
    with Client("grpc://nowhere", transport=transport, retries=Retries(first_wait_s=0, patience_s=0.2)) as client:
        digits, gone = client.model("digits"), client.model("gone")
        with pytest.raises(ModelNotFoundError, match="attempts"):
            gone.infer(X)
        for _ in range(3):
            assert isinstance(digits.infer(X), Answer)
            calls = len(infer_calls(transport))
            with pytest.raises(ModelNotFoundError) as caught:
                gone.infer(X)
            assert (caught.value.attempts, len(infer_calls(transport))) == (1, calls + 1)


def test_many_callers_do_not_storm_a_server_that_has_unloaded_their_model():
    async def run():
        transport = AsyncInMemoryTransport(*beside_an_unloaded_one())
        async with AsyncClient("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
            gone = await client.model("gone")
            ended = await asyncio.gather(*(gone.infer(X) for _ in range(300)), return_exceptions=True)
        return {type(each) for each in ended}, len(infer_calls(transport))

    kinds, calls = asyncio.run(run())
    assert kinds == {ModelNotFoundError}
    assert calls <= 300 + 1000


def test_reads_are_tried_again_as_well():
    transport = in_memory()
    transport.fail(ServerUnreachableError("away"), None, ConnectionLostError("cut"))
    with Client("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
        assert client.model("digits").signature.name == "digits"
    assert [call.method for call in transport.calls] == ["metadata", "metadata", "config", "config"]


def test_the_asynchronous_side_tries_again_as_well():
    async def run():
        transport = AsyncInMemoryTransport(digits(), answer=doubled)
        async with AsyncClient("grpc://nowhere", transport=transport, retries=AT_ONCE) as client:
            model = await client.model("digits")
            transport.fail(*[ServerBusyError("full")] * 3)
            with pytest.raises(ServerBusyError, match=r"\(3 attempts\)"):
                await model.infer(X)
            return len(infer_calls(transport))

    assert asyncio.run(run()) == 3


@pytest.mark.parametrize("sequence_id", [0, -1, True, 2**63, "", "x" * 129, "\ud800"])
def test_an_id_that_no_sequence_can_have_is_refused(sequence_id):
    with Client("grpc://nowhere", transport=in_memory()) as client:
        model = client.model("digits")
        with pytest.raises(InputError, match="the id of a sequence is"):
            model.sequence(sequence_id)


def leave_a_block(model, transport, error=None):
    """Leave it over a connection that fails, by ``error`` if there is one."""
    with model.sequence() as sequence:
        sequence.infer(X)
        transport.fail(ConnectionLostError("cut"))
        if error is not None:
            raise error


def test_the_end_of_a_failed_block_does_not_hide_what_failed():
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport) as client:
        model = client.model("digits")
        with pytest.raises(ZeroDivisionError):
            leave_a_block(model, transport, ZeroDivisionError())
        with pytest.raises(ConnectionLostError, match="cut"):
            leave_a_block(model, transport)
    flags = [call.request.parameters for call in infer_calls(transport)]
    assert [(each["sequence_start"], each["sequence_end"]) for each in flags] == [(True, False), (False, True)] * 2


def test_a_sequence_whose_first_request_was_lost_begins_again():
    transport = in_memory()
    with Client("grpc://nowhere", transport=transport) as client:
        sequence = client.model("digits").sequence("a")
        transport.fail(ConnectionLostError("cut"))
        with pytest.raises(ConnectionLostError):
            sequence.infer(X)
        sequence.infer(X)
        sequence.infer(X, last=True)
    flags = [call.request.parameters for call in infer_calls(transport)]
    assert [each["sequence_start"] for each in flags] == [True, True, False]
    assert {each["sequence_id"] for each in flags} == {"a"}


def test_a_sequence_whose_first_request_was_interrupted_is_ended():
    sent = []

    def answer(inputs):
        sent.append(inputs)
        if len(sent) == 1:
            raise KeyboardInterrupt
        return doubled(inputs)

    transport = InMemoryTransport(digits(), answer=answer)
    client = Client("grpc://nowhere", transport=transport)
    with client, pytest.raises(KeyboardInterrupt), client.model("digits").sequence() as sequence:
        sequence.infer(X)
    flags = [call.request.parameters for call in infer_calls(transport)]
    assert [(each["sequence_start"], each["sequence_end"]) for each in flags] == [(True, False), (True, True)]


def test_a_sequence_takes_no_request_while_one_is_under_way():
    def answer(inputs):
        with pytest.raises(InputError, match="a request of the sequence 7 is under way"):
            sequence.infer(X)
        return doubled(inputs)

    transport = InMemoryTransport(digits(), answer=answer)
    with Client("grpc://nowhere", transport=transport) as client, client.model("digits").sequence(7) as sequence:
        sequence.infer(X)
        sequence.infer(X)
    assert [call.request.parameters["sequence_start"] for call in infer_calls(transport)] == [True, False, False]
