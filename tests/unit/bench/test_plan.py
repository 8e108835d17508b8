# SPDX-License-Identifier: Apache-2.0
"""What cannot be measured is refused before anything starts."""

import pytest

from repo_tool.bench.plan import BenchPlan, parse_levels
from repo_tool.bench.served import ServerAddress
from repo_tool.errors import UserMistakeError
from repo_tool.workflows.bench_model import choose_address


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": ()},
        {"concurrency": (0,)},
        {"concurrency": (1, 1)},
        {"batch_size": 0},
        {"window_ms": 0},
        {"window_requests": 0},
        {"stability_percent": 0},
        {"max_windows": 2},
        {"settle_on": 100},
    ],
    ids=str,
)
def test_a_plan_that_makes_no_sense_cannot_be_built(wrong):
    with pytest.raises(UserMistakeError):
        BenchPlan(model="m", server=ServerAddress.parse("grpc://127.0.0.1:1"), **wrong)


def test_levels_are_kept_in_the_order_given():
    assert parse_levels("8,1, 2") == (8, 1, 2)


@pytest.mark.parametrize("text", ["", "1,", "1;2", "two"])
def test_levels_that_are_no_numbers_are_refused(text):
    with pytest.raises(UserMistakeError, match="no list of concurrency levels"):
        parse_levels(text)


@pytest.mark.parametrize(
    ("server", "protocol", "address"),
    [
        (None, None, "grpc://127.0.0.1:8001"),
        (None, "http", "http://127.0.0.1:8000"),
        ("http://[::1]:81", None, "http://[::1]:81"),
        ("grpc://host:5", "grpc", "grpc://host:5"),
    ],
)
def test_server_and_protocol_complete_each_other(server, protocol, address):
    assert str(choose_address(server, protocol)) == address


@pytest.mark.parametrize(
    ("server", "protocol", "serve", "said"),
    [
        ("127.0.0.1:8001", None, False, "no address"),
        ("grpc://127.0.0.1", None, False, "no address"),
        ("grpc://127.0.0.1:99999", None, False, "no address"),
        ("ftp://127.0.0.1:8001", None, False, "no address"),
        ("grpc://127.0.0.1:8001/v2", None, False, "no address"),
        ("grpc://127.0.0.1:8001", "http", False, "contradicts --server"),
        (None, "rest", False, "no protocol"),
        ("grpc://127.0.0.1:8001", None, True, "contradicts --server"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(server, protocol, serve, said):
    with pytest.raises(UserMistakeError, match=said):
        choose_address(server, protocol, serve=serve)


@pytest.mark.parametrize(
    ("url", "local"), [("grpc://localhost:1", True), ("http://[::1]:1", True), ("http://10.0.0.1:1", False)]
)
def test_a_loopback_address_is_this_machine(url, local):
    assert ServerAddress.parse(url).is_loopback is local
