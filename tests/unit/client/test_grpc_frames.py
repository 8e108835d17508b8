# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 without a network: whatever arrives, it is an answer, a refusal or ``ProtocolError``, and nothing is lost."""

import struct

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_client import ServerUnreachableError, TlsError
from repo_client._errors import Facts
from repo_client._grpc_call import Call, StatusError, encode_timeout
from repo_client._grpc_messages import translated
from repo_client._http2 import AnswerError, Http2, ProtocolError, ResetError, encode_headers
from repo_client._urls import parse_url

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
DATA, HEADERS, RESET, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
GREETING_SIZE = 24 + 9 + 30 + 13  # the preface, our settings, the window of the connection


def frame(kind, flags, stream, payload):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def settings(**values):
    numbers = {"most_calls": 3, "window": 4, "largest_frame": 5}
    return frame(4, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def answered(stream, message=b"pong"):
    return b"".join(
        (
            frame(HEADERS, END_HEADERS, stream, encode_headers({":status": "200"})),
            frame(DATA, 0, stream, struct.pack(">BI", 0, len(message)) + message),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, encode_headers({"grpc-status": "0"})),
        )
    )


def started(message=b"ping", *, arriving=SETTINGS):
    http2, call = Http2(), Call([message])
    http2.start(encode_headers({":method": "POST"}), call)
    http2.receive(arriving)
    return http2, call


def sent(http2):
    return b"".join(http2.take())


def test_nothing_but_the_greeting_is_sent_before_the_server_has_greeted():
    http2, call = Http2(), Call([b"ping"])
    http2.start(encode_headers({":method": "POST"}), call)
    assert len(sent(http2)) == GREETING_SIZE
    http2.receive(SETTINGS)
    assert sent(http2).endswith(frame(DATA, END_STREAM, 1, b"\0\0\0\0\4ping"))


def test_a_message_goes_out_as_far_as_the_windows_reach():
    http2, call = started(b"x" * 95, arriving=settings(window=40))
    assert sent(http2).count(b"x") == 35
    http2.receive(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 20)))
    assert sent(http2) == frame(DATA, 0, 1, b"x" * 20)
    http2.receive(settings(window=140))
    assert sent(http2).startswith(SETTINGS[:4] + b"\1" + SETTINGS[5:] + frame(DATA, END_STREAM, 1, b"x" * 40))
    assert http2.receive(answered(1)) == [call]
    assert call.answer() == b"pong"


def test_padding_priority_and_continuations_are_taken_apart():
    http2, call = started()
    block = encode_headers({":status": "200"})
    http2.receive(frame(HEADERS, PADDED | PRIORITY, 1, b"\2" + b"\0" * 5 + block[:3] + b"\0\0"))
    http2.receive(frame(CONTINUATION, 0, 1, block[3:5]) + frame(CONTINUATION, END_HEADERS, 1, block[5:]))
    http2.receive(frame(DATA, PADDED, 1, b"\3" + b"\0\0\0\0\4po" + b"\0\0\0"))
    http2.receive(frame(DATA, 0, 1, b"ng") + frame(DATA, 0, 1, b""))
    trailers = encode_headers({"grpc-status": "0"})
    assert http2.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers)) == [call]
    assert call.answer() == b"pong"


def test_calls_wait_until_the_server_takes_them():
    http2, first = started(arriving=settings(most_calls=1))
    second = Call([b"second"])
    http2.start(encode_headers({":method": "POST"}), second)
    assert b"second" not in sent(http2)
    assert http2.receive(answered(1)) == [first]
    assert b"second" in sent(http2)
    assert http2.receive(answered(3)) == [second]


def test_a_limit_holds_until_the_server_tells_another():
    http2, first = started(arriving=settings(most_calls=1))
    second = Call([b"second"])
    http2.start(encode_headers({":method": "POST"}), second)
    http2.receive(settings(window=100))
    assert b"second" not in sent(http2)
    http2.receive(settings(most_calls=2))
    assert b"second" in sent(http2)
    assert http2.receive(answered(1) + answered(3)) == [first, second]


def test_a_call_that_is_refused_beside_others_waits_for_one_of_them():
    http2, first = started()
    second, third = Call([b"second"]), Call([b"third"])
    http2.start(encode_headers({":method": "POST"}), second)
    assert http2.receive(frame(RESET, 0, 3, struct.pack(">I", 7))) == []
    sent(http2)
    http2.start(encode_headers({":method": "POST"}), third)
    assert sent(http2) == b""
    assert http2.receive(answered(1)) == [first]
    again = sent(http2)
    assert (b"second" in again, b"third" in again) == (True, False)
    assert http2.receive(answered(5)) == [second]
    assert http2.receive(answered(7)) == [third]


def test_what_a_leaving_server_has_not_seen_can_be_made_again():
    http2, seen = started()
    unseen = Call([b"unseen"])
    http2.start(encode_headers({":method": "POST"}), unseen)
    assert http2.receive(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0))) == [unseen]
    assert (unseen.is_unprocessed, http2.is_leaving) == (True, True)
    unseen.restart()
    assert (unseen.is_finished, unseen.is_unprocessed, bytes(unseen.left)[5:]) == (False, False, b"unseen")
    assert http2.receive(answered(1)) == [seen]


@pytest.mark.parametrize(("code", "again"), [(7, True), (2, False)])
def test_a_reset_call_says_whether_it_was_looked_at(code, again):
    http2, call = started(b"x" * 100, arriving=settings(window=10))
    sent(http2)
    assert http2.receive(frame(RESET, 0, 1, struct.pack(">I", code))) == [call]
    assert call.is_unprocessed is again
    with pytest.raises(ResetError) as caught:
        call.answer()
    assert caught.value.code == code
    assert sent(http2) == b""


def test_a_cancelled_call_is_reset_and_its_late_answer_ignored():
    http2, call = started()
    sent(http2)
    http2.cancel(call)
    http2.cancel(call)
    assert sent(http2) == frame(RESET, 0, 1, struct.pack(">I", 8))
    assert http2.receive(answered(1)) == []


@pytest.mark.parametrize("body", [b"", b"\1\0\0\0\1x", b"\0\0\0\0\2x", b"\0\0\0\0\1xx"])
def test_an_answer_that_is_no_single_message_is_refused(body):
    http2, call = started()
    trailers = encode_headers({":status": "200", "grpc-status": "0"})
    http2.receive(frame(DATA, 0, 1, body) + frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
    with pytest.raises(AnswerError):
        call.answer()


@pytest.mark.parametrize("headers", [b"\xff\xff", encode_headers({"x": "y" * (2**20 - 40)})[:-2] + b"\x41"])
def test_headers_that_cannot_be_read_end_only_their_call(headers):
    http2, first = started()
    second = Call([b"second"])
    http2.start(encode_headers({":method": "POST"}), second)
    assert http2.receive(frame(HEADERS, END_HEADERS, 1, headers)) == [first]
    with pytest.raises(AnswerError):
        first.answer()
    assert sent(http2).endswith(frame(RESET, 0, 1, struct.pack(">I", 8)))
    assert http2.receive(answered(3)) == [second]


def test_long_trailers_are_read():
    http2, call = started()
    trailers = encode_headers({":status": "200", "grpc-status": "13", "grpc-message": "x" * 200_000})
    assert http2.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers)) == [call]
    with pytest.raises(StatusError, match="x" * 200_000):
        call.answer()


@pytest.mark.parametrize(
    ("headers", "code", "words"),
    [
        ({":status": "401"}, "UNAUTHENTICATED", "HTTP status 401"),
        ({":status": "503"}, "UNAVAILABLE", "HTTP status 503"),
        ({":status": "200"}, "UNKNOWN", "without a status"),
        ({":status": "200", "grpc-status": "5"}, "NOT_FOUND", "NOT_FOUND"),
        ({":status": "200", "grpc-status": "99", "grpc-message": "caf%C3%A9"}, "UNKNOWN", "café"),
    ],
)
def test_an_end_has_a_status_also_of_what_knows_no_grpc(headers, code, words):
    http2, call = started()
    http2.receive(frame(HEADERS, END_HEADERS | END_STREAM, 1, encode_headers(headers)))
    with pytest.raises(StatusError, match=words) as caught:
        call.answer()
    assert caught.value.code == code


def test_frames_and_headers_have_a_largest_size():
    with pytest.raises(ProtocolError, match="too large"):
        started(arriving=SETTINGS + frame(WINDOW_UPDATE, 0, 1, bytes(2**20 + 1))[:9])
    with pytest.raises(ProtocolError, match="too large"):
        started(arriving=SETTINGS + frame(HEADERS, 0, 9, b"") + frame(CONTINUATION, 0, 9, bytes(2**14)) * 65)


def test_the_window_of_the_connection_is_opened_again():
    http2, _ = started()
    sent(http2)
    chunk = frame(DATA, 0, 9, bytes(2**20))  # of a call that was cancelled: it counts, and is not kept
    for _ in range(2**10 - 1):
        http2.receive(chunk)
    assert sent(http2) == b""
    http2.receive(chunk)
    assert sent(http2) == frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))


@pytest.mark.parametrize(
    ("timeout_s", "text"),
    [(1.5, "1500000u"), (1e-9, "1u"), (99.0, "99000000u"), (360.5, "361S"), (1e12, "99999999S")],
)
def test_a_deadline_is_told_in_at_most_eight_digits(timeout_s, text):
    assert encode_timeout(timeout_s) == encode_headers({"grpc-timeout": text})


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_a_protocol_error(garbage):
    for arriving in (garbage, SETTINGS + garbage):
        _receive_anything(arriving)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=40))))
def test_any_frames_are_an_answer_or_a_protocol_error(frames):
    _receive_anything(SETTINGS + b"".join(frame(*each) for each in frames))


def _receive_anything(arriving):
    try:
        http2, call = started(arriving=arriving)
        if call.is_finished:
            call.answer()
    except (AnswerError, ProtocolError, ResetError, StatusError):
        return
    expected = [] if call.is_finished else [call]
    assert http2.lose(EOFError()) == expected


@given(st.data())
def test_frames_may_arrive_in_any_pieces(data):
    whole = SETTINGS + answered(1, b"a long answer " * 5)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    http2, call = Http2(), Call([b"ping"])
    http2.start(encode_headers({":method": "POST"}), call)
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        http2.receive(whole[start:end])
    assert call.answer() == b"a long answer " * 5


class Unavailable(grpc.RpcError):
    """What gRPC's library raises where it has no connection."""

    def __init__(self, words):
        super().__init__()
        self._words = words

    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return f"failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: {self._words}"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("tcp handshaker shutdown", ServerUnreachableError),
        ("Connection refused (111)", ServerUnreachableError),
        ("Ssl handshake failed: SSL_ERROR_SSL: certificate verify failed", TlsError),
    ],
)
def test_a_connection_that_was_given_up_is_no_lack_of_trust(words, kind):
    assert type(translated(Unavailable(words), parse_url("grpc://127.0.0.1:1"), Facts())) is kind
