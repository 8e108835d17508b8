# SPDX-License-Identifier: Apache-2.0
"""Options that make no sense are refused when they are written, not when the first call fails."""

import math

import pytest

from repo_client import ConnectionOptions, InputError, Retries, Tls
from repo_client._options import TransportOptions


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ConnectionOptions, "compression", "zip"),
        (ConnectionOptions, "connections", 0),
        (ConnectionOptions, "keep_alive_s", 0.0),
        (ConnectionOptions, "keep_alive_s", math.inf),
        (ConnectionOptions, "max_message_bytes", 0),
        (Retries, "attempts", 0),
        (Retries, "first_wait_s", -1.0),
        (Retries, "longest_wait_s", math.nan),
        (Retries, "budget", math.inf),
        (Tls, "key", "key.pem"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(kind, name, value):
    with pytest.raises(InputError, match=name if kind is not Tls else "without its certificate"):
        kind(**{name: value})


def test_headers_of_a_call_go_over_those_of_the_client_and_the_token():
    tokens = iter(["first", "second"])
    options = TransportOptions(headers={"X-Team": "blue", "Trace": "1"}, token=lambda: next(tokens))
    assert options.call_headers() == {"x-team": "blue", "trace": "1", "authorization": "Bearer first"}
    own = {"X-TEAM": "red", "Authorization": "Basic x"}
    assert options.call_headers(own) == {"x-team": "red", "trace": "1", "authorization": "Basic x"}


def test_what_is_secret_is_not_printed():
    options = TransportOptions(headers={"x-key": "hidden"}, token="-".join(("hidden", "too")))
    assert "hidden" not in repr(options)


def test_a_token_that_cannot_be_a_header_is_refused_without_being_shown():
    with pytest.raises(InputError) as caught:
        TransportOptions(token=lambda: "two\nlines").call_headers()
    assert "lines" not in str(caught.value)
