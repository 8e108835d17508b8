# SPDX-License-Identifier: Apache-2.0
"""Shared memory of this machine: names that last no longer than they must, and room that ends."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repo_client._async.shared_memory import release_of
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
