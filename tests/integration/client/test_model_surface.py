# SPDX-License-Identifier: Apache-2.0
"""Large batches, many requests, streams and sequences, by all four clients of a real server."""

import asyncio
import itertools
import json
import re
import shutil
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    AsyncClient,
    BatchSizeError,
    Client,
    ClosedClientError,
    DatatypeError,
    DeadlineExceededError,
    ExecutionError,
    InputError,
    RefusedRequestError,
    RepoClientError,
    Retries,
    ServerBusyError,
    UnexpectedAnswerError,
    UnknownTensorError,
    UnsupportedCallError,
)
from repo_tool.triton.server import EmbeddedServer, ServerOptions

MODELS = ["adder", "busy", "countdown", "echoes", "facts", "scale"]


@pytest.fixture(scope="module")
def surface_server(tmp_path_factory):
    path = tmp_path_factory.mktemp("surface") / "repository"
    shutil.copytree(Path(__file__).parent / "surface_repository", path)
    with EmbeddedServer(path, ServerOptions(graceful_stop_s=0)) as server:
        assert [outcome.refusal for outcome in server.load_all(MODELS)] == [None] * len(MODELS)
        yield server


@pytest.fixture
def surface(surface_server, opener, variant):
    urls = {"grpc_url": surface_server.grpc_url, "http_url": surface_server.http_url}
    return opener.open(variant, **urls, retries=Retries(attempts=1))


@pytest.fixture
def asynchronous(surface_server):
    return lambda: AsyncClient(f"grpc://{surface_server.grpc_url}")


def rows(count):
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3) + 100


def until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)  # between two looks of a poll with a deadline


class Gate:
    """The file that the model ``busy`` waits for, until it is opened."""

    def __init__(self, path, server):
        self._path, self._metrics_url = path, server.metrics_url
        self.inputs = {"gate": [[str(path)]]}

    def has_begun(self):
        return self._path.with_suffix(".begun").exists()

    def waiting(self):
        """How many requests the server has queued for the model, behind the one that it runs."""
        with urllib.request.urlopen(self._metrics_url) as reply:
            found = re.search(r'pending_request_count{model="busy".*} (\d+)', reply.read().decode())
        return int(found[1])

    def open(self):
        self._path.touch()

    def open_once(self, condition):
        until(condition)
        self.open()


@pytest.fixture
def gate(tmp_path, surface_server):
    gate = Gate(tmp_path / "open", surface_server)
    yield gate
    gate.open()
    with Client(f"grpc://{surface_server.grpc_url}") as client:
        client.model("busy").infer(gate.inputs)  # behind all that the test has left there


class Crowd:
    """Others who send to the model ``busy``, each from a thread."""

    def __init__(self, model, gate):
        self._model, self._gate = model, gate
        self._pool = ThreadPoolExecutor(8)

    def send(self):
        return self._pool.submit(self._model.infer, self._gate.inputs)

    def close(self):
        self._gate.open()
        self._pool.shutdown()


@pytest.fixture
def crowd(surface_server, gate):
    with Client(f"grpc://{surface_server.grpc_url}", retries=Retries(attempts=1)) as client:
        crowd = Crowd(client.model("busy"), gate)
        yield crowd
        crowd.close()


# --- batches ---


@pytest.mark.parametrize("count", [1, 4, 5, 8, 27])
def test_a_batch_of_any_size_is_split_and_answered_in_order(surface, count):
    model, x = surface.model("scale"), rows(count)
    answer = model.infer_batch({"x": x}, outputs=["y", "rows", "words"])
    np.testing.assert_array_equal(answer["y"], x * 2)
    sizes = [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    assert answer["rows"].ravel().tolist() == [size for size in sizes for _ in range(size)]
    assert answer["words"].ravel().tolist() == [b"none"] * count
    assert (answer.model_name, answer.model_version) == ("scale", "1")


def test_a_batch_takes_lists_and_text_too(surface):
    words = [[f"word {number}"] for number in range(9)]
    answer = surface.model("scale").infer_batch({"x": rows(9).tolist(), "word": words}, outputs=["words"])
    assert answer["words"].tolist() == [[word.encode()] for [word] in words]


def test_a_batch_converts_only_where_asked(surface):
    model, x = surface.model("scale"), rows(6).astype(np.float64)
    with pytest.raises(DatatypeError):
        model.infer_batch({"x": x})
    assert model.infer_batch({"x": x}, cast="same_kind", outputs=["y"])["y"].dtype == np.float32


def test_a_batch_without_rows_is_refused(surface):
    with pytest.raises(BatchSizeError, match="0 rows"):
        surface.model("scale").infer_batch({"x": rows(0)})


def test_a_batch_with_inputs_of_different_length_is_refused(surface):
    with pytest.raises(BatchSizeError, match="9 for 'x', 8 for 'word'"):
        surface.model("scale").infer_batch({"x": rows(9), "word": [["a"]] * 8})


def test_a_model_without_batches_says_so(surface):
    with pytest.raises(UnsupportedCallError, match=r"does not batch.*\nhint: call infer, or infer_many"):
        surface.model("facts").infer_batch({"x": [1.0]})


def test_a_batch_fails_with_the_first_of_its_requests_that_failed(surface):
    x = rows(20)
    x[9] = 13
    with pytest.raises(ExecutionError, match="bad luck") as caught:
        surface.model("scale").infer_batch({"x": x}, outputs=["y"], request_id="lot")
    assert caught.value.request_id == "lot/2"


def test_outputs_that_cannot_be_put_together_say_how_to_get_them(surface):
    x = np.ones((8, 3), np.float32)
    x[6] = 5
    model = surface.model("scale")
    with pytest.raises(UnexpectedAnswerError, match=r"'padded' differs in shape\nhint: call infer_many"):
        model.infer_batch({"x": x}, outputs=["padded"])
    parts = model.infer_many([{"x": x[:4]}, {"x": x[4:]}], outputs=["padded"])
    assert [part["padded"].shape for part in parts] == [(4, 1), (4, 5)]


@pytest.mark.parametrize(("count", "words"), [(9, "'y' has 3 rows for 4"), (3, "'y' has 2 rows for 3")])
def test_an_answer_of_a_row_less_is_refused(surface, count, words):
    x = rows(count)
    x[count // 2] = 14
    with pytest.raises(UnexpectedAnswerError, match=words) as caught:
        surface.model("scale").infer_batch({"x": x}, outputs=["rows", "y"])
    assert caught.value.tensor == "y"
    assert ("in the request of rows 4 to 7 of the batch" in str(caught.value)) == (count == 9)


def test_the_deadline_of_a_batch_is_that_of_the_whole(surface, gate):
    model, slow = surface.model("busy"), {"parameters": {"limit_s": 0.2}, "timeout_s": 0.5}
    assert model.infer(gate.inputs, **slow)["turn"].size == 1
    with pytest.raises(DeadlineExceededError):
        model.infer_batch({"gate": gate.inputs["gate"] * 3}, max_in_flight=1, **slow)


# --- many ---


def many(count):
    return [{"x": rows(1) + number} for number in range(count)]


def test_many_requests_are_answered_in_their_order(surface):
    requests = many(100)
    answers = list(surface.model("scale").infer_many(iter(requests), outputs=["y"], request_id="job"))
    assert [answer["y"][0, 0] for answer in answers] == [2 * request["x"][0, 0] for request in requests]
    assert [answer.request_id for answer in answers[:3]] == ["job/0", "job/1", "job/2"]


def test_requests_without_end_are_read_only_as_far_as_they_are_in_flight(surface):
    read = itertools.count()
    endless = ({"x": rows(1) + next(read)} for _ in itertools.count())
    answers = surface.model("scale").infer_many(endless, outputs=["y"], max_in_flight=4)
    for number in range(10):
        assert next(answers)["y"][0, 0] == 2 * (100 + number)
    assert next(read) <= 10 + 4
    answers.close()
    beyond = next(read)
    assert next(read) == beyond + 1


def test_one_array_is_filled_anew_for_every_request(surface):
    buffer = np.empty((1, 3), np.float32)

    def filled():
        for number in range(20):
            buffer[:] = 100 + number
            yield {"x": buffer}

    answers = surface.model("scale").infer_many(filled(), outputs=["y"])
    assert [answer["y"][0, 0] for answer in answers] == [200 + 2 * number for number in range(20)]


def test_no_request_at_all_is_no_answer(surface):
    assert list(surface.model("scale").infer_many([])) == []


def test_the_first_failure_is_raised_in_its_turn(surface):
    requests = many(20)
    requests[3] = {"y": [1]}
    requests[2]["x"][0] = 13
    taken = []
    with pytest.raises(ExecutionError, match="bad luck") as caught:
        taken.extend(surface.model("scale").infer_many(requests, outputs=["y"], request_id="a"))
    assert caught.value.request_id == "a/2"
    assert [answer["y"][0, 0] for answer in taken] == [200, 202]


def test_failures_are_returned_in_their_place_where_asked(surface):
    requests = many(5)
    requests[1] = {"z": [1]}
    requests[3]["x"][0] = 13
    found = list(surface.model("scale").infer_many(requests, outputs=["y"], errors="return"))
    kinds = [type(outcome) if isinstance(outcome, RepoClientError) else outcome["y"][0, 0] for outcome in found]
    assert kinds == [200, UnknownTensorError, 204, ExecutionError, 208]


def test_what_the_iterator_raises_comes_after_the_answers_before_it(surface):
    def failing():
        yield from many(3)
        raise OSError("the disk is gone")

    taken = []
    with pytest.raises(OSError, match="the disk is gone"):
        taken.extend(surface.model("scale").infer_many(failing(), outputs=["y"]))
    assert [answer["y"][0, 0] for answer in taken] == [200, 202, 204]


@pytest.mark.parametrize(
    "wrong", [{"max_in_flight": 0}, {"max_in_flight": True}, {"errors": "ignore"}, {"timeout_s": 0}]
)
def test_options_that_make_no_sense_are_refused_before_the_first_request(surface, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        surface.model("scale").infer_many(many(1), **wrong)


def test_one_request_is_not_many(surface):
    with pytest.raises(InputError, match="or call infer_batch"):
        surface.model("scale").infer_many({"x": rows(2)})


def test_what_cannot_be_iterated_over_is_not_many(surface):
    with pytest.raises(InputError, match="type int where many"):
        surface.model("scale").infer_many(5)


@pytest.mark.parametrize("ask", ["infer", "infer_batch", "infer_many", "stream"])
def test_an_option_that_does_not_exist_is_an_error_of_python(surface, ask):
    with pytest.raises(TypeError, match="'timeout'"):
        getattr(surface.model("scale"), ask)({"x": rows(9)} if ask != "infer_many" else [], timeout=1)


def test_a_progress_bar_counts_the_answers(surface, capfd):
    list(surface.model("scale").infer_many(many(7), outputs=["y"], progress=True))
    assert "7/7" in capfd.readouterr().err


def test_many_requests_are_under_way_at_once(surface, gate):
    answers = surface.model("busy").infer_many([gate.inputs] * 3, max_in_flight=3)
    opening = threading.Thread(target=gate.open_once, args=(lambda: gate.has_begun() and gate.waiting() == 2,))
    opening.start()
    turns = [int(answer["turn"][0, 0]) for answer in answers]
    opening.join()
    assert len(set(turns)) == 3


def test_an_asynchronous_source_is_read_while_answers_are_awaited(asynchronous):
    async def run():
        second = asyncio.Event()

        async def source():
            yield {"x": rows(1)}
            await second.wait()
            yield {"x": rows(1) + 1}

        async with asynchronous() as client:
            model, taken = await client.model("scale"), []
            async for answer in model.infer_many(source(), outputs=["y"]):
                taken.append(answer["y"][0, 0])
                second.set()  # the source goes on only once the first answer is here
            return taken

    assert asyncio.run(asyncio.wait_for(run(), 20)) == [200, 202]


def test_leaving_early_cancels_what_is_under_way(asynchronous, gate):
    async def run():
        async with asynchronous() as client:
            model = await client.model("busy")
            answers = model.infer_many([gate.inputs] * 2, max_in_flight=2)
            first = asyncio.ensure_future(anext(answers))
            await asyncio.to_thread(until, gate.has_begun)
            before = len(asyncio.all_tasks())
            first.cancel()
            with suppress(asyncio.CancelledError):
                await first
            await answers.aclose()
            return before, len(asyncio.all_tasks())

    before, after = asyncio.run(run())
    assert before > 1
    assert after == 1


# --- what a request carries ---


def facts_of(answer):
    return json.loads(answer["facts"][0])


def test_the_server_hears_of_the_deadline_the_id_and_the_parameters(surface):
    answer = surface.model("facts").infer(
        {"x": 1.0}, timeout_s=7.5, request_id="one", parameters={"flag": True, "number": 7, "text": "é", "half": 0.5}
    )
    facts = facts_of(answer)
    assert answer.request_id == facts["request_id"] == "one"
    assert 0 < facts["timeout_us"] <= 7_500_000
    assert facts["parameters"] == {"flag": True, "number": 7, "text": "é", "half": 0.5}


def test_a_deadline_of_ages_is_one_of_eleven_days(surface):
    assert facts_of(surface.model("facts").infer({"x": 1.0}, timeout_s=1e300))["timeout_us"] == 10**12


@pytest.mark.parametrize("priority", [0, -1, 1.5, True, "high"])
def test_a_priority_that_triton_has_not_is_refused(surface, priority):
    with pytest.raises(InputError, match="priority"):
        surface.model("facts").infer({"x": 1.0}, priority=priority)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"request_id": 5}, "request_id is 5"),
        ({"request_id": "\ud800"}, "request_id is"),
        ({"cast": "samekind"}, "cast is 'samekind'"),
        ({"parameters": 5}, "parameters is 5"),
        ({"parameters": {"a": [1]}}, "parameter 'a' is"),
        ({"parameters": {"a": np.int64(5)}}, "parameter 'a' is"),
        ({"parameters": {"a": 2**63}}, "parameter 'a' is"),
        ({"parameters": {"a": "\ud800"}}, "parameter 'a' is"),
        ({"parameters": {5: "a"}}, "name of a parameter is 5"),
        ({"parameters": {"priority": -1}}, "pass priority="),
        ({"parameters": {"binary_data_output": False}}, "'binary_data_output' is the client's own"),
    ],
)
def test_what_no_request_can_carry_is_refused(surface, wrong, words):
    with pytest.raises(InputError, match=words):
        surface.model("facts").infer({"x": np.ones(1, np.float32)}, **wrong)


def test_a_higher_priority_overtakes(surface, gate, crowd):
    model = surface.model("busy")
    crowd.send()
    until(gate.has_begun)
    queued = [crowd.send() for _ in range(2)]
    until(lambda: gate.waiting() == 2)
    opening = threading.Thread(target=gate.open_once, args=(lambda: gate.waiting() == 3,))
    opening.start()
    answer = model.infer(gate.inputs, priority=1)
    opening.join()
    assert answer["turn"] < max(each.result()["turn"] for each in queued)


def test_a_full_queue_is_told_as_such(surface, gate, crowd):
    model = surface.model("busy")
    crowd.send()
    until(gate.has_begun)  # from here on nothing leaves the queue
    sent = [crowd.send() for _ in range(7)]
    until(lambda: any(each.done() and isinstance(each.exception(), ServerBusyError) for each in sent))
    with pytest.raises(ServerBusyError, match=r"busy.*\nhint: try again later"):
        model.infer(gate.inputs)


def test_the_server_does_not_run_what_nobody_waits_for_any_more(surface, gate, crowd):
    model = surface.model("busy")
    first = crowd.send()
    until(gate.has_begun)
    for _ in range(2):
        with pytest.raises(DeadlineExceededError):
            model.infer(gate.inputs, timeout_s=0.2)
    gate.open()
    # The second of the two may just still be in time; HTTP tells nobody that a caller has left.
    assert model.infer(gate.inputs)["turn"] <= first.result()["turn"] + 2


# --- sequences ---


def test_a_sequence_has_a_state_from_its_first_request_to_its_last(surface):
    model = surface.model("adder")
    with model.sequence() as sequence:
        assert sequence.infer({"x": [[1]]})["sum"] == 1
        assert sequence.infer({"x": [[2]]})["sum"] == 3
        last = sequence.infer({"x": [[4]]}, last=True)
        assert last["sum"] == 7
        assert last["id"][0, 0] == str(sequence.id).encode()
        with pytest.raises(InputError, match="is over"):
            sequence.infer({"x": [[1]]})
    with model.sequence() as sequence:
        assert sequence.infer({"x": [[1]]}, last=True)["ended"] == last["ended"] + 1


def test_sequences_run_side_by_side(surface):
    model = surface.model("adder")
    with model.sequence() as one, model.sequence() as other:
        one.infer({"x": [[1]]})
        other.infer({"x": [[10]]})
        assert one.infer({"x": [[1]]}, last=True)["sum"] == 2
        assert other.infer({"x": [[10]]}, last=True)["sum"] == 20
        assert one.id != other.id


def test_a_block_left_early_ends_its_sequence(surface):
    model = surface.model("adder")
    with model.sequence() as sequence:
        ended = sequence.infer({"x": [[1]]})["ended"]
    with suppress(ZeroDivisionError), model.sequence() as sequence:
        sequence.infer({"x": [[1]]})
        raise ZeroDivisionError
    with model.sequence():
        pass  # never begun, so there is nothing to end
    with model.sequence() as sequence:
        assert sequence.infer({"x": [[1]]}, last=True)["ended"] == ended + 3


def test_a_sequence_goes_on_after_a_call_that_was_wrong(surface):
    with surface.model("adder").sequence() as sequence:
        with pytest.raises(DatatypeError):
            sequence.infer({"x": [["one"]]})
        assert sequence.infer({"x": [[1]]})["sum"] == 1
        with pytest.raises(ExecutionError, match="bad luck"):
            sequence.infer({"x": [[13]]})
        assert sequence.infer({"x": [[2]]}, last=True)["sum"] == 16


@pytest.mark.parametrize("sequence_id", [7, 2**63 - 1, "tür 7", "x" * 128])
def test_a_sequence_may_have_an_id_of_its_own(surface, sequence_id):
    with surface.model("adder").sequence(sequence_id) as sequence:
        assert sequence.infer({"x": [[1]]}, last=True)["id"][0, 0].decode() == str(sequence_id)


@pytest.mark.parametrize("sequence_id", [0, -1, 2**64, True, 1.5, "", "x" * 200])
def test_an_id_that_triton_does_not_take_is_refused(surface, sequence_id):
    with pytest.raises(InputError, match="id of a sequence"):
        surface.model("adder").sequence(sequence_id)


def test_a_request_outside_of_a_sequence_is_refused_with_the_way_in(surface):
    model = surface.model("adder")
    with pytest.raises(UnsupportedCallError, match=r"\nhint: with model.sequence"):
        model.infer({"x": [[1]]})
    with pytest.raises(UnsupportedCallError, match=r"\nhint: with model.sequence"):
        model.infer_batch({"x": [[1]] * 9})


def test_a_sequence_that_the_server_does_not_know_is_to_be_begun_again(surface):
    with pytest.raises(RefusedRequestError, match=r"START flag.*\nhint: begin it again"):
        surface.model("adder").infer({"x": [[1]]}, parameters={"sequence_id": 2**40})


# --- streams ---


def test_a_decoupled_model_is_not_asked_for_one_answer(surface):
    model = surface.model("countdown")
    for call in (model.infer, lambda inputs: list(model.infer_many([inputs]))):
        with pytest.raises(UnsupportedCallError, match=r"decoupled.*\nhint: iterate over model.stream"):
            call({"from": [3]})


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_stream_gives_every_answer_of_a_decoupled_model(surface, variant, count):
    stream = surface.model("countdown").stream({"from": [count]}, request_id="down")
    if variant.endswith("http"):
        with pytest.raises(UnsupportedCallError, match="grpc://"):
            next(stream)
        return
    answers = list(stream)
    assert [int(answer["left"][0]) for answer in answers] == list(reversed(range(count)))
    assert {answer.request_id for answer in answers} <= {"down"}


def test_a_stream_is_checked_before_it_begins(surface):
    with pytest.raises(UnknownTensorError):
        surface.model("countdown").stream({"form": [1]})
    with pytest.raises(UnknownTensorError):
        surface.model("countdown").stream({"from": [1]}, outputs=["right"])


def test_a_stream_may_be_left_early(surface, variant):
    if variant.endswith("http"):
        pytest.skip("HTTP has no streams")
    model = surface.model("countdown")
    stream = model.stream({"from": [100_000]})
    assert next(stream)["left"] == [99_999]
    stream.close()
    assert [answer["left"][0] for answer in model.stream({"from": [2]})] == [1, 0]


def test_a_model_of_single_answers_streams_one(surface, variant):
    if variant.endswith("http"):
        pytest.skip("HTTP has no streams")
    [answer] = surface.model("scale").stream({"x": rows(2)}, outputs=["y"])
    np.testing.assert_array_equal(answer["y"], rows(2) * 2)


def test_a_sequence_of_a_decoupled_model_is_one_of_streams(surface, variant):
    if variant.endswith("http"):
        pytest.skip("HTTP has no streams")
    model = surface.model("echoes")
    with model.sequence() as sequence:
        assert [answer["y"][0, 0] for answer in sequence.stream({"x": [[1]]})] == [1]
        assert [answer["y"][0, 0] for answer in sequence.stream({"x": [[2]]})] == [1, 2]
        with pytest.raises(UnsupportedCallError, match=r"sequence\.stream"):
            sequence.infer({"x": [[3]]})
    with model.sequence() as sequence:  # the one before was ended, or its place would be taken
        assert [answer["y"][0, 0] for answer in sequence.stream({"x": [[7]]}, last=True)] == [7]
        with pytest.raises(InputError, match="is over"):
            next(sequence.stream({"x": [[8]]}))


def test_nothing_is_sent_by_a_client_that_was_closed(surface_server, opener, variant):
    client = opener.open(variant, grpc_url=surface_server.grpc_url, http_url=surface_server.http_url)
    model = client.model("scale")
    client.close()
    for call in (model.infer, model.infer_batch, model.stream, lambda inputs: model.infer_many([inputs])):
        with pytest.raises(ClosedClientError):
            call({"x": rows(1)})
