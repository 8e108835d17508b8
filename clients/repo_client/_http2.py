# SPDX-License-Identifier: Apache-2.0
"""The part of HTTP/2 that unary gRPC calls need, without I/O: frames in, finished calls and bytes to send out.

gRPC's own library takes most of the time of a short call; Triton answers several such calls meanwhile. Streams,
management and whatever is encrypted, compressed or goes through a proxy are left to that library.

Numbers and names are those of RFC 9113 (HTTP/2), RFC 7541 (HPACK) and gRPC's "gRPC over HTTP2".
"""

import os
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from time import monotonic
from typing import Self, cast
from urllib.parse import unquote

import grpc
from hpack import Decoder, HPACKError

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 3, 4, 5
_CANCEL = 8
_REFUSED_STREAM = 7
_RESETS = {
    _CANCEL: "CANCELLED",
    _REFUSED_STREAM: "RESOURCE_EXHAUSTED",
    11: "RESOURCE_EXHAUSTED",
    12: "PERMISSION_DENIED",
}
_STATUSES = {str(status.value[0]): status.name for status in grpc.StatusCode}

_LARGEST_WINDOW = 2**31 - 1
_LEAST_FRAME, _LARGEST_FRAME = 2**14, 2**24 - 1  # that a side may set as its limit
_LAST_STREAM = 2**31 - 1
_MOST_DIGITS = 99_999_999  # of a time-out of gRPC
_FRAME = struct.Struct(">IBI")  # length and type in one, flags, stream
_FRAME_SIZE = 9
_PREFIX = struct.Struct(">BI")  # of each gRPC message: compressed or not, length
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")


def _frame(kind: int, flags: int, stream: int, length: int) -> bytes:
    return _FRAME.pack(length << 8 | kind, flags, stream)


_OUR_SETTINGS = b"".join(
    _SETTING.pack(name, value)
    for name, value in (
        (_HEADER_TABLE_SIZE, 0),  # so that each header block stands alone
        (_ENABLE_PUSH, 0),
        (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW),
        (_MAX_FRAME_SIZE, _LARGEST_FRAME),
    )
)
_GREETING = b"".join(
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        _frame(_SETTINGS, 0, 0, len(_OUR_SETTINGS)),
        _OUR_SETTINGS,
        _frame(_WINDOW_UPDATE, 0, 0, 4),
        _NUMBER.pack(_LARGEST_WINDOW - 65_535),
    )
)


class ProtocolError(Exception):
    """The other side speaks no HTTP/2, or not gRPC over it."""


class UnreachableError(Exception):
    """There is no connection to be had."""


def reason(error: OSError) -> str:
    """The operating system's word for why there is no connection, without the address that libraries add."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or str(error)


class StatusError(Exception):
    """A call ended with a status of gRPC, whose ``code`` is told by name, in the words of whoever ended it."""

    def __init__(self, code: str, words: str, *, told: str = "") -> None:
        super().__init__(words or told or code)
        self.code, self.words = code, words
        self.told = told  # how it ended, where nobody said a word


class ResetError(Exception):
    """The server ended one call without an answer; ``code`` is a status code of gRPC, by name."""

    def __init__(self, code: str, words: str, *, is_unprocessed: bool = False) -> None:
        super().__init__(words)
        self.code, self.words = code, words
        self.is_unprocessed = is_unprocessed  # the server promises that it has not looked at it


def time_left(deadline: float) -> float:
    """The seconds until ``deadline``, a time of the monotonic clock.

    Raises:
        TimeoutError: there are none.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no side keeps in a table."""
    return b"".join((b"\x00", _length(name), name, _length(value), value))


def _length(text: bytes) -> bytes:
    """The length of a string that is not Huffman-coded."""
    rest = len(text) - 127
    if rest < 0:
        return bytes((len(text),))
    groups = bytearray((127,))
    while rest > 127:
        groups.append(rest & 127 | 128)
        rest >>= 7
    groups.append(rest)
    return bytes(groups)


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """A part of a header block."""
    return b"".join(_literal(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())


def encode_timeout(timeout_s: float) -> bytes:
    """The header that tells the server the deadline; gRPC allows eight digits."""
    if timeout_s < _MOST_DIGITS / 1e6:
        return _literal(b"grpc-timeout", b"%du" % max(1, int(timeout_s * 1e6)))
    return _literal(b"grpc-timeout", b"%dS" % min(int(timeout_s) + 1, _MOST_DIGITS))


@lru_cache(maxsize=64)
def _decode_headers(block: bytes) -> Mapping[str, str]:
    """A header block. It stands alone, since we let the server keep no table; most are those of the call before."""
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return {_text(name): _text(value) for name, value in decoder.decode(block, raw=True)}
    except HPACKError as error:
        raise ProtocolError(f"headers that cannot be read: {error}") from error


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class Call:
    """One unary call: what is left to send of it, and what has come back."""

    __slots__ = ("_framed", "chunks", "failure", "headers", "is_finished", "left", "stream", "window")

    def __init__(self, message: Sequence[bytes | memoryview]) -> None:
        length = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in message)
        self._begin(memoryview(b"".join((_PREFIX.pack(0, length), *message))))

    def _begin(self, framed: memoryview) -> None:
        self._framed = self.left = framed
        self.window = 0
        self.stream = 0
        self.chunks: list[bytes] = []
        self.headers: Mapping[str, str] = {}
        self.failure: Exception | None = None
        self.is_finished = False

    def again(self) -> Self:
        """The same call anew."""
        call = copy(self)
        call._begin(self._framed)
        return call

    @property
    def is_unprocessed(self) -> bool:
        """Whether the server promised not to have looked at it, so that it can be made again."""
        return isinstance(self.failure, ResetError) and self.failure.is_unprocessed

    def answer(self) -> memoryview:
        """The message that came back.

        Raises:
            StatusError: the server ended the call otherwise.
            ResetError: it did so without a word.
            ProtocolError: there is no message, or it is compressed, which nobody asked for.
            Exception: what the connection was lost by.
        """
        if self.failure is not None:
            raise self.failure
        status = self.headers.get("grpc-status", "2")
        if status != "0":
            raise StatusError(_STATUSES.get(status, "UNKNOWN"), self._words())
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        if len(body) < _PREFIX.size or _PREFIX.unpack_from(body) != (0, len(body) - _PREFIX.size):
            raise ProtocolError("the answer is no single message of gRPC")
        return memoryview(body)[_PREFIX.size :]

    def _words(self) -> str:
        status = self.headers.get(":status", "200")
        return unquote(self.headers.get("grpc-message", "" if status == "200" else f"HTTP status {status}"))


class Http2:
    """One connection's state. After each method, what ``take`` gives has to be sent."""

    def __init__(self) -> None:
        self.is_leaving = False  # takes no more calls
        self._out: list[bytes | memoryview] = [_GREETING]
        self._calls: dict[int, Call] = {}
        self._waiting: deque[tuple[bytes, Call]] = deque()
        self._finished: list[Call] = []
        self._next_stream = 1
        # The other side's settings until it tells its own, which it does first of all; calls wait for them.
        self._window = self._initial_window = 65_535
        self._largest_frame = _LEAST_FRAME
        self._most_calls = 0
        # What has been read of a frame that is not whole yet.
        self._is_greeted = False
        self._partial = b""
        self._data_left = self._data_flags = self._data_stream = 0
        self._block = bytearray()
        self._consumed = 0

    def take(self) -> list[bytes | memoryview]:
        """What is to be sent now, in order."""
        out, self._out = self._out, []
        return out

    def start(self, headers: bytes, call: Call) -> None:
        """Begin a call with its header block, as soon as the server takes another one."""
        if len(self._calls) >= self._most_calls:
            self._waiting.append((headers, call))
            return
        call.stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.is_leaving = self.is_leaving or self._next_stream > _LAST_STREAM
        call.window = self._initial_window
        self._calls[call.stream] = call
        self._send_headers(call.stream, headers)
        self._send_body(call)

    def cancel(self, call: Call) -> None:
        """Give up a call; one that is finished is none any more."""
        self._waiting = deque(each for each in self._waiting if each[1] is not call)
        if self._calls.pop(call.stream, None) is not None:
            self._reset(call.stream)
            self._start_waiting()

    def lose(self, error: Exception) -> list[Call]:
        """The connection is gone, and with it these calls."""
        self.is_leaving = True
        lost = [*self._calls.values(), *(call for _, call in self._waiting)]
        self._calls, self._waiting = {}, deque()
        for call in lost:
            call.failure, call.is_finished = error, True
        return lost

    def receive(self, data: bytes) -> list[Call]:
        """The calls that the bytes received end.

        Raises:
            ProtocolError: they are no HTTP/2.
        """
        if self._partial:
            data = self._partial + data
        position, end = 0, len(data)
        while position < end:
            if self._data_left:
                position = self._read_data(data, position)
            elif (after := self._read_frame(data, position)) == position:
                break
            else:
                position = after
        self._partial = data[position:]
        finished, self._finished = self._finished, []
        return finished

    def _read_frame(self, data: bytes, position: int) -> int:
        """The position behind the frame; the same one where it is not whole yet."""
        start = position + _FRAME_SIZE
        if start > len(data):
            return position
        word, flags, stream = cast(tuple[int, int, int], _FRAME.unpack_from(data, position))
        kind, length = word & 0xFF, word >> 8
        if not self._is_greeted and kind != _SETTINGS:
            raise ProtocolError("it does not speak HTTP/2")
        if kind == _DATA and not flags & _PADDED:
            self._data_left, self._data_flags, self._data_stream = length, flags, stream
            self._count(length)
            if length == 0:
                self._end_data()
            return start
        if start + length > len(data):
            return position
        self._handle(kind, flags, stream & _LAST_STREAM, data[start : start + length])
        return start + length

    def _read_data(self, data: bytes, position: int) -> int:
        chunk = data[position : position + self._data_left]
        call = self._calls.get(self._data_stream)
        if call is not None:
            call.chunks.append(chunk)
        self._data_left -= len(chunk)
        if self._data_left == 0:
            self._end_data()
        return position + len(chunk)

    def _end_data(self) -> None:
        if self._data_flags & _END_STREAM:
            self._finish(self._data_stream)

    def _count(self, length: int) -> None:
        """Let the server send on before the window that it was given at first is used up."""
        self._consumed += length
        if self._consumed > _LARGEST_WINDOW // 2:
            self._out += (_frame(_WINDOW_UPDATE, 0, 0, 4), _NUMBER.pack(self._consumed))
            self._consumed = 0

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        try:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, flags, stream, payload)
        except (struct.error, IndexError) as error:
            raise ProtocolError("a frame that is too short") from error

    def _on_padded_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._count(len(payload))
        self._data_flags, self._data_stream = flags, stream
        call = self._calls.get(stream)
        if call is not None:
            call.chunks.append(_unpadded(flags, payload))
        self._end_data()

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        payload = _unpadded(flags, payload)
        self._block = bytearray(payload[5:] if flags & _PRIORITY else payload)
        self._data_flags = flags  # END_STREAM stands here, END_HEADERS on the last continuation
        self._end_headers(flags, stream)

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        self._block += payload
        self._end_headers(flags, stream)

    def _end_headers(self, flags: int, stream: int) -> None:
        call = self._calls.get(stream)
        if not flags & _END_HEADERS or call is None:
            return
        headers = _decode_headers(bytes(self._block))
        call.headers = {**call.headers, **headers} if call.headers else headers
        if self._data_flags & _END_STREAM:
            self._finish(stream)

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        (code,) = _NUMBER.unpack(payload)
        call = self._calls.get(stream)
        if call is not None:
            words = f"the server reset the call (HTTP/2 code {code})"
            call.failure = ResetError(_RESETS.get(code, "INTERNAL"), words, is_unprocessed=code == _REFUSED_STREAM)
            self._finish(stream)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        self._is_greeted = True
        if flags & _ACK:
            return
        settings = dict(_SETTING.iter_unpack(payload))
        initial = settings.get(_INITIAL_WINDOW_SIZE, self._initial_window)
        for call in self._calls.values():
            call.window += initial - self._initial_window
        self._initial_window = initial
        self._largest_frame = max(_LEAST_FRAME, settings.get(_MAX_FRAME_SIZE, self._largest_frame))
        self._most_calls = settings.get(_MAX_CONCURRENT_STREAMS, _LAST_STREAM)
        self._out.append(_frame(_SETTINGS, _ACK, 0, 0))
        self._send_bodies()
        self._start_waiting()

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & _ACK:
            self._out += (_frame(_PING, _ACK, 0, len(payload)), payload)

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        self.is_leaving = True
        last = _NUMBER.unpack_from(payload)[0] & _LAST_STREAM
        unseen = [call for number, call in self._calls.items() if number > last]
        unseen += [call for _, call in self._waiting]
        self._waiting.clear()
        for call in unseen:
            call.failure = ResetError("UNAVAILABLE", "the server is going away", is_unprocessed=True)
            self._calls.pop(call.stream, None)
            self._note(call)

    def _on_window_update(self, flags: int, stream: int, payload: bytes) -> None:
        (size,) = _NUMBER.unpack(payload)
        if stream == 0:
            self._window += size
            self._send_bodies()
        elif stream in self._calls:
            call = self._calls[stream]
            call.window += size
            self._send_body(call)

    def _finish(self, stream: int) -> None:
        call = self._calls.pop(stream, None)
        if call is None:
            return
        if call.left:
            self._reset(stream)  # it answered without having heard us out
        self._note(call)
        self._start_waiting()

    def _note(self, call: Call) -> None:
        call.is_finished = True
        self._finished.append(call)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._calls) < self._most_calls:
            self.start(*self._waiting.popleft())

    def _send_headers(self, stream: int, block: bytes) -> None:
        kind, most = _HEADERS, self._largest_frame
        while len(block) > most:
            self._out += (_frame(kind, 0, stream, most), block[:most])
            kind, block = _CONTINUATION, block[most:]
        self._out += (_frame(kind, _END_HEADERS, stream, len(block)), block)

    def _send_bodies(self) -> None:
        for call in self._calls.values():
            self._send_body(call)

    def _send_body(self, call: Call) -> None:
        while call.left:
            size = min(len(call.left), self._largest_frame, self._window, call.window)
            if size <= 0:
                return
            part, call.left = call.left[:size], call.left[size:]
            self._window -= size
            call.window -= size
            self._out += (_frame(_DATA, 0 if call.left else _END_STREAM, call.stream, size), part)

    def _reset(self, stream: int) -> None:
        self._out += (_frame(_RST_STREAM, 0, stream, 4), _NUMBER.pack(_CANCEL))


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload


_HANDLERS: Mapping[int, Callable[[Http2, int, int, bytes], None]] = {
    _DATA: Http2._on_padded_data,
    _HEADERS: Http2._on_headers,
    _CONTINUATION: Http2._on_continuation,
    _RST_STREAM: Http2._on_reset,
    _SETTINGS: Http2._on_settings,
    _PING: Http2._on_ping,
    _GOAWAY: Http2._on_goaway,
    _WINDOW_UPDATE: Http2._on_window_update,
}
