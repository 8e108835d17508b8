# SPDX-License-Identifier: Apache-2.0
"""The reader of HTTP answers: however the network cuts them, and whatever comes instead of one."""

import pytest
from httptools import HttpParserError
from hypothesis import given
from hypothesis import strategies as st

from repo_client import InputError
from repo_client._http_wire import ReplyReader, compress, decompress, encode_headers, encode_path

BODY = bytes(range(256)) * 5
ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1280\r\nX-Two:  words\r\n\r\n" + BODY,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n" + BODY + b"\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1280\r\n\r\n" + BODY,
    "closing": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1280\r\n\r\n" + BODY,
    "until-closed": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
}
KEPT = {"length", "chunked", "interim"}


def feed(reader, data, sizes):
    """Give ``data`` to ``reader`` in pieces of such sizes, then its end; what is left is returned."""
    sizes = iter(sizes)
    while data and not reader.is_complete:
        buffer = reader.buffer()
        size = min(len(buffer), len(data), next(sizes, len(data)))
        buffer[:size] = data[:size]
        reader.received(size)
        data = data[size:]
    if not reader.is_complete:
        reader.received(0)
    return data


@pytest.mark.parametrize("form", ANSWERS)
@given(sizes=st.lists(st.integers(1, 300), max_size=40), room=st.integers(1, 2000))
def test_an_answer_is_the_same_however_it_is_cut(form, sizes, room):
    reader = ReplyReader(memoryview(bytearray(room)))
    assert feed(reader, ANSWERS[form], sizes) == b""
    assert (reader.status, bytes(reader.body), reader.keep_alive) == (200, BODY, form in KEPT)
    assert b"x-interim" not in reader.headers
    assert reader.headers.get(b"x-two") == (b"words" if form == "length" else None)


@given(cut=st.integers(0, len(ANSWERS["length"]) - 1), form=st.sampled_from(sorted(set(ANSWERS) - {"until-closed"})))
def test_half_an_answer_is_none(cut, form):
    reader = ReplyReader(memoryview(bytearray(64)))
    with pytest.raises(EOFError):
        feed(reader, ANSWERS[form][: min(cut, len(ANSWERS[form]) - 3)], ())


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(b"HTTP/1.1 200 OK\r\n".__add__))
def test_whatever_comes_is_an_answer_or_an_error_that_is_known(data):
    reader = ReplyReader(memoryview(bytearray(64)))
    try:
        feed(reader, data, ())
    except (HttpParserError, EOFError):
        assert not reader.is_complete


@given(surplus=st.binary(min_size=1, max_size=50).filter(lambda data: data.strip(b"\r\n")))  # empty lines say nothing
def test_a_connection_with_more_than_the_answer_is_not_kept(surplus):
    """Where both come at once; what comes later is seen when the connection is to be used again."""
    reader = ReplyReader(memoryview(bytearray(4096)))
    feed(reader, ANSWERS["length"] + surplus, ())
    assert (bytes(reader.body), reader.keep_alive) == (BODY, False)


class AlarmError(Exception):
    """What a handler of a signal may raise."""


@pytest.mark.parametrize("method", ["on_header", "on_headers_complete", "on_body", "on_message_complete"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, AlarmError])
def test_a_signal_in_the_middle_of_an_answer_is_what_it_was(monkeypatch, method, interruption):
    def interrupt(*_):
        raise interruption

    monkeypatch.setattr(ReplyReader, method, interrupt)
    with pytest.raises(interruption):
        feed(ReplyReader(memoryview(bytearray(4096))), ANSWERS["length"], ())


def test_a_signal_is_what_it_was_also_where_another_error_is_handled(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReplyReader, "on_body", interrupt)
    reader = ReplyReader(memoryview(bytearray(4096)))
    try:
        [].pop()
    except IndexError:
        with pytest.raises(KeyboardInterrupt):
            feed(reader, ANSWERS["length"], ())


def test_the_answer_to_connect_ends_with_its_headers():
    reader = ReplyReader(memoryview(bytearray(64)), has_body=False)
    feed(reader, b"HTTP/1.1 200 Connection established\r\n\r\n", ())
    assert (reader.is_complete, reader.status, bytes(reader.body)) == (True, 200, b"")


@given(body=st.binary(max_size=2000), how=st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_comes_back(body, how):
    assert decompress(compress(body, how)) == body


@given(path=st.text(max_size=30).filter(lambda text: text.isprintable()))
def test_a_path_never_ends_its_line(path):
    assert not set(encode_path(path)) & set(" \r\n\t?#")
    assert encode_path(path).isascii()


def test_headers_that_frame_the_message_are_refused():
    assert encode_headers({"x-a": "1", "x-b": "two words"}) == "x-a: 1\r\nx-b: two words\r\n"
    with pytest.raises(InputError, match="content-length, transfer-encoding"):
        encode_headers({"transfer-encoding": "chunked", "content-length": "1", "x-a": "1"})
