# SPDX-License-Identifier: Apache-2.0
"""Shared memory of this machine: names that last no longer than they must, and room that ends."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from repo_client import RepoClientError
from repo_client._async.shared_memory import release_of
from repo_client._errors import Facts
from repo_client._http_messages import Reply, accept, from_reply
from repo_client._layouts import LEAST_BYTES, AnswerSizes
from repo_client._messages import InferRequest, InferResponse, RegionSlice, WireTensor
from repo_client._region_pool import RegionPool
from repo_client._regions import (
    Region,
    SignOfLife,
    has_room,
    is_this_machine,
    left_behind,
    remove_names_left_behind,
)
from repo_client._urls import parse_url

FOLDER = Path("/dev/shm")  # noqa: S108  # where Linux keeps POSIX shared memory
MEBIBYTE = 1024 * 1024


SCRIPT = "from repo_client._regions import SignOfLife; sign = SignOfLife(); print(sign.name, flush=True); input()"


@pytest.fixture
def other_process():
    """Another owner of regions, which ends when it is told."""
    child = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield child
    end(child)


def end(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.fixture
def sign():
    return SignOfLife()


def test_a_region_has_a_name_only_while_it_is_named(sign):
    region = Region(f"{sign.name}-1", 4096)
    path = FOLDER / region.name
    assert not path.exists()
    with region.named():
        region.write(8, b"shared")
        assert path.read_bytes()[8:14] == b"shared"
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    assert region.read(8, 6) == b"shared"


def test_a_region_that_this_machine_cannot_hold_is_refused(sign):
    assert has_room(4096)
    assert not has_room(2**60)
    with pytest.raises(OSError, match=r"space|large"):
        Region(f"{sign.name}-1", 2**60)


def test_all_memory_of_a_region_is_there_from_the_start(sign):
    """Otherwise a server that writes an answer dies when the machine has run out of memory meanwhile."""
    region = Region(f"{sign.name}-1", MEBIBYTE)
    with region.named():
        assert (FOLDER / region.name).stat().st_blocks * 512 >= MEBIBYTE


def test_names_of_owners_that_are_no_more_are_taken_away_and_no_others(sign, other_process):
    dead = other_process.stdout.readline().strip()
    end(other_process)
    paths = [FOLDER / f"{name}-1" for name in (dead, sign.name, f"{dead}-else".removeprefix("repo-"))]
    try:
        for path in paths:
            path.touch()
        remove_names_left_behind()
        assert [path.exists() for path in paths] == [False, True, True]
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def test_a_process_that_was_killed_counts_as_ended_before_its_parent_has_asked(other_process):
    name = f"{other_process.stdout.readline().strip()}-1"
    assert not left_behind([name])
    other_process.kill()
    os.waitid(os.P_PID, other_process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken note
    assert left_behind([name]) == [name]


def test_regions_are_left_behind_by_a_client_that_was_forgotten_or_closed():
    forgotten, closed, kept = SignOfLife(), SignOfLife(), SignOfLife()
    names = [f"{sign.name}-1" for sign in (forgotten, closed, kept)]
    assert left_behind(names) == []
    del forgotten
    closed.end()
    assert left_behind(names) == names[:2]


def test_a_process_of_another_container_is_not_judged(other_process):
    name = f"{other_process.stdout.readline().strip()}-1"
    end(other_process)
    network = name.split("-")[2]
    assert left_behind([name, name.replace(network, f"1{network}"), "somebody-elses"]) == [name]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::1]", "localhost", socket.gethostname()])
def test_addresses_of_this_machine(host):
    assert is_this_machine(parse_url(f"grpc://{host}:1"))


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "triton.example", "127.0.0.1.example"])
def test_addresses_of_other_machines(host):
    assert not is_this_machine(parse_url(f"http://{host}:1"))


@pytest.fixture
def pool():
    return RegionPool(Region, most_bytes=2 * MEBIBYTE)


def test_no_more_is_shared_than_the_limit(pool):
    first, second = pool.make(MEBIBYTE), pool.make(MEBIBYTE)
    assert pool.make(1) is None
    pool.leave(first)  # the server may have it still
    assert pool.make(1) is None
    pool.drop(first)
    pool.drop(first)
    assert pool.make(MEBIBYTE)
    assert pool.make(1) is None
    pool.give_back(second)
    assert pool.take(MEBIBYTE) is second


def test_an_idle_region_much_larger_than_the_need_is_not_taken_but_makes_room(pool):
    region = pool.make(2 * MEBIBYTE)
    pool.give_back(region)
    assert pool.take(300_000) is None
    assert pool.make(300_000) is None
    pool.leave_idle()
    assert pool.due() == [region]
    pool.drop(region)
    assert pool.make(300_000)


def test_each_region_has_another_name(pool):
    """A server maps the memory of the first where a name comes a second time."""
    names = {pool.make(1).name for _ in range(8)} | {RegionPool(Region, most_bytes=MEBIBYTE).make(1).name}
    assert len(names) == 9


def test_a_region_that_nobody_needs_any_more_is_closed_after_a_minute(pool):
    old, new = pool.make(1), pool.make(1)
    pool.give_back(old)
    pool.give_back(new)
    old.idle_since -= 61
    deadline = time.monotonic() + 5
    while not (due := pool.due()):  # it is looked for about once a second
        assert time.monotonic() < deadline
    assert due == [old]
    assert pool.take(1) is new
    assert pool.take(1) is None


@pytest.mark.parametrize(
    ("version", "release"), [("2.51.0", (2, 51)), ("2.9.0", (2, 9)), ("2024.5", (2024, 5)), ("dev", ()), ("", ())]
)
def test_releases(version, release):
    assert release_of(version) == release


@pytest.mark.parametrize(
    ("status", "body", "is_answered"),
    [
        (400, b'{"error": "unexpected shape for input"}', True),
        (404, b'{"error": "Request for unknown model"}', True),
        (500, b'{"error": "the model failed"}', True),
        (500, b'{"error": "Internal Server Error", "status": 500, "path": "/v2"}', False),
        (500, b'{"error": {"message": "upstream"}}', False),
        (500, b"<html></html>", False),
        (503, b'{"error": "Request timeout expired"}', False),
        (504, b'{"error": "upstream request timeout"}', False),
        (504, b"<html></html>", False),
    ],
)
def test_a_request_over_http_is_over_only_by_an_error_of_tritons_own(status, body, is_answered):
    with pytest.raises(RepoClientError) as caught:
        accept(Reply(status=status, header_length=None, body=body), Facts())
    assert caught.value.is_answered is is_answered


def test_an_output_that_came_with_the_answer_is_not_looked_for_in_a_region():
    """As from a server that ignores regions; what lies there is of an earlier call."""
    outputs = [
        {"name": "near", "datatype": "INT8", "shape": [3], "parameters": {"binary_data_size": 3}},
        {"name": "far", "datatype": "INT8", "shape": [3]},
        {"name": "last", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": 1}},
    ]
    head = json.dumps({"model_name": "m", "outputs": outputs}).encode()
    slices = {name: RegionSlice(region="r", offset=0, byte_size=3) for name in ("near", "far")}
    request = InferRequest(model="m", version="", request_id="", inputs=(), output_slices=slices)
    reply = Reply(status=200, header_length=str(len(head)), body=head + b"now!")
    answer = from_reply(reply, request, Facts())
    assert [bytes(output.data) for output in answer.outputs] == [b"now", b"", b"!"]
    assert [output.slice for output in answer.outputs] == [None, slices["far"], None]


def test_what_is_known_of_answers_may_be_learned_and_given_up_by_threads():
    sizes, failures, before = AnswerSizes(), [], sys.getswitchinterval()

    def learn(number):
        for width in range(600):
            sizes.learn(request_of(f"model-{number}", width), answer)

    def give_up():
        for _ in range(600):
            sizes.give_up("another")

    def watched(work, *arguments):
        try:
            work(*arguments)
        except RuntimeError as error:
            failures.append(error)

    answer = InferResponse(
        model="m", version="", request_id="", outputs=(WireTensor(name="y", datatype="UINT8", shape=(1,), data=LARGE),)
    )
    threads = [Thread(target=watched, args=(learn, number)) for number in range(3)]
    threads.append(Thread(target=watched, args=(give_up,)))
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures


LARGE = bytes(LEAST_BYTES)


def request_of(model, width):
    tensor = WireTensor(name="x", datatype="UINT8", shape=(width,), data=b"")
    return InferRequest(model=model, version="", request_id="", inputs=(tensor,))
