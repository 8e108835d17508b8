# SPDX-License-Identifier: Apache-2.0
"""The part of HTTP/2 that unary gRPC calls need, without I/O: frames in, finished streams and bytes to send out.

gRPC's own library takes most of the time of a short call; Triton answers several such calls meanwhile. Streams,
management and whatever is encrypted, compressed or goes through a proxy are left to that library.

Numbers and names are those of RFC 9113 (HTTP/2) and RFC 7541 (HPACK).
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from hpack import Decoder, HPACKError

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 3, 4, 5
_MAX_HEADER_LIST_SIZE = 6
_CANCEL = 8
_REFUSED_STREAM = 7
_LARGEST_WINDOW = 2**31 - 1
_LEAST_FRAME = 2**14  # that a side may set as its limit
_LARGEST = 2**20  # frame and header list that we take: what ends a call with a long traceback still fits
_LAST_STREAM = 2**31 - 1
_MOST_KNOWN = 8  # header blocks that a connection remembers, each ...
_LONGEST_KNOWN = 512  # ... of at most so many bytes
_FRAME = struct.Struct(">IBI")  # length and type in one, flags, stream
_FRAME_SIZE = 9
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
        (_MAX_FRAME_SIZE, _LARGEST),
        (_MAX_HEADER_LIST_SIZE, _LARGEST),
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
    """The other side speaks no HTTP/2."""


class AnswerError(Exception):
    """The answer to one call cannot be read; the connection goes on."""


class ResetError(Exception):
    """The server ended one call without an answer, for the reason ``code``, a number of HTTP/2."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the call (HTTP/2 code {code})")
        self.code = code


class RefusedError(ResetError):
    """It takes no more calls now, and promises that it has not looked at this one."""


class LeavingError(EOFError):
    """It takes no more calls on this connection, and promises that it has not looked at this one."""


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


class Stream:
    """One exchange: what is left to send of its body, and what has come back."""

    __slots__ = ("block", "body", "chunks", "failure", "headers", "is_finished", "left", "number", "window")

    def __init__(self, body: memoryview) -> None:
        self.block = b""  # its header block
        self.body = body
        self.restart()

    def restart(self) -> None:
        """Begin again, as if nothing had been sent."""
        self.left = self.body
        self.window = 0
        self.number = 0
        self.chunks: list[bytes] = []
        self.headers: Mapping[str, str] = {}
        self.failure: Exception | None = None
        self.is_finished = False


class Http2:
    """One connection's state. After each method, what ``take`` gives has to be sent."""

    def __init__(self) -> None:
        self.is_leaving = False  # takes no more calls
        self._out: list[bytes | memoryview] = [_GREETING]
        self._open: dict[int, Stream] = {}
        self._waiting: deque[Stream] = deque()
        self._finished: list[Stream] = []
        self._next_number = 1
        # The other side's settings until it tells its own, which it does first of all; calls wait for them.
        self._window = self._initial_window = 65_535
        self._largest_frame = _LEAST_FRAME
        self._most_open = 0
        # What has been read of a frame that is not whole yet.
        self._is_greeted = False
        self._partial = bytearray()
        self._needed = 0  # bytes of it
        self._data_left = self._data_flags = self._data_stream = 0
        self._block = bytearray()
        self._known: dict[bytes, Mapping[str, str]] = {}  # header blocks: most are those of the call before
        self._consumed = 0

    def take(self) -> list[bytes | memoryview]:
        """What is to be sent now, in order."""
        out, self._out = self._out, []
        return out

    def start(self, headers: bytes, stream: Stream) -> None:
        """Begin a call with its header block, as soon as the server takes another one."""
        stream.block = headers
        if self._waiting or len(self._open) >= self._most_open:
            self._waiting.append(stream)
        else:
            self._begin(stream)

    def _begin(self, stream: Stream) -> None:
        stream.number, self._next_number = self._next_number, self._next_number + 2
        self.is_leaving = self.is_leaving or self._next_number > _LAST_STREAM
        stream.window = self._initial_window
        self._open[stream.number] = stream
        self._send_headers(stream)
        self._send_body(stream)

    def cancel(self, stream: Stream) -> None:
        """Give up a call; one that is finished is none any more."""
        with suppress(ValueError):
            self._waiting.remove(stream)
        if self._open.pop(stream.number, None) is not None:
            self._reset(stream)
            self._begin_waiting()

    def lose(self, error: Exception) -> list[Stream]:
        """The connection is gone, and with it these calls."""
        self.is_leaving = True
        lost = [*self._open.values(), *self._waiting]
        self._open, self._waiting = {}, deque()
        for stream in lost:
            stream.failure, stream.is_finished = error, True
        return lost

    def receive(self, data: bytes) -> list[Stream]:
        """The calls that the bytes received end.

        Raises:
            ProtocolError: they are no HTTP/2.
        """
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data = bytes(self._partial)
        position, end = 0, len(data)
        while position < end:
            if self._data_left:
                position = self._read_data(data, position)
            elif (after := self._read_frame(data, position)) == position:
                break
            else:
                position = after
        if self._partial or position < end:
            self._partial = bytearray(data[position:])
        finished, self._finished = self._finished, []
        return finished

    def _read_frame(self, data: bytes, position: int) -> int:
        """The position behind the frame; the same one where it is not whole yet."""
        start = position + _FRAME_SIZE
        if start > len(data):
            self._needed = _FRAME_SIZE
            return position
        word, flags, stream = cast(tuple[int, int, int], _FRAME.unpack_from(data, position))
        kind, length = word & 0xFF, word >> 8
        if not self._is_greeted and kind != _SETTINGS:
            raise ProtocolError("it does not speak HTTP/2")
        if length > _LARGEST:
            raise ProtocolError("a frame that is too large")
        if kind == _DATA and not flags & _PADDED:
            self._data_left, self._data_flags, self._data_stream = length, flags, stream
            self._count(length)
            if length == 0:
                self._end_data()
            return start
        if start + length > len(data):
            self._needed = _FRAME_SIZE + length
            return position
        self._handle(kind, flags, stream & _LAST_STREAM, data[start : start + length])
        return start + length

    def _read_data(self, data: bytes, position: int) -> int:
        chunk = data[position : position + self._data_left]
        stream = self._open.get(self._data_stream)
        if stream is not None:
            stream.chunks.append(chunk)
        self._data_left -= len(chunk)
        if self._data_left == 0:
            self._end_data()
        return position + len(chunk)

    def _end_data(self) -> None:
        stream = self._open.get(self._data_stream)
        if stream is not None and self._data_flags & _END_STREAM:
            self._finish(stream, hears_us=bool(stream.left))  # it answered without having heard us out

    def _count(self, length: int) -> None:
        """Let the server send on before the window that it was given at first is used up."""
        self._consumed += length
        if self._consumed > _LARGEST_WINDOW // 2:
            self._out += (_frame(_WINDOW_UPDATE, 0, 0, 4), _NUMBER.pack(self._consumed))
            self._consumed = 0

    def _handle(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        try:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, flags, number, payload)
        except (struct.error, IndexError) as error:
            raise ProtocolError("a frame that is too short") from error

    def _on_padded_data(self, flags: int, number: int, payload: bytes) -> None:
        self._count(len(payload))
        self._data_flags, self._data_stream = flags, number
        stream = self._open.get(number)
        if stream is not None:
            stream.chunks.append(_unpadded(flags, payload))
        self._end_data()

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = _unpadded(flags, payload)
        payload = payload[5:] if flags & _PRIORITY else payload
        self._data_flags = flags  # END_STREAM stands here, END_HEADERS on the last continuation
        if flags & _END_HEADERS:
            self._end_headers(number, payload)
        else:
            self._block = bytearray(payload)

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        self._block += payload
        if len(self._block) > _LARGEST:
            raise ProtocolError("headers that are too large")
        if flags & _END_HEADERS:
            self._end_headers(number, bytes(self._block))
            self._block = bytearray()

    def _end_headers(self, number: int, block: bytes) -> None:
        stream = self._open.get(number)
        if stream is None:
            return
        try:
            headers = self._known.get(block) or self._decode(block)
        except HPACKError as error:
            stream.failure = AnswerError(f"headers that cannot be read: {error}")
            self._finish(stream, hears_us=not self._data_flags & _END_STREAM)
            return
        stream.headers = {**stream.headers, **headers} if stream.headers else headers
        if self._data_flags & _END_STREAM:
            self._finish(stream, hears_us=bool(stream.left))

    def _decode(self, block: bytes) -> Mapping[str, str]:
        """A header block. It stands alone, since we let the server keep no table."""
        decoder = Decoder(max_header_list_size=_LARGEST)
        decoder.max_allowed_table_size = decoder.header_table_size = 0
        headers = {_text(name): _text(value) for name, value in decoder.decode(block, raw=True)}
        if len(block) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[block] = headers
        return headers

    def _on_reset(self, flags: int, number: int, payload: bytes) -> None:
        (code,) = _NUMBER.unpack(payload)
        stream = self._open.get(number)
        if stream is None:
            return
        if code != _REFUSED_STREAM:
            stream.failure = ResetError(code)
        elif len(self._open) == 1 or self.is_leaving:
            stream.failure = RefusedError(code)
        else:  # it takes no more at a time than the others, whatever it has told
            del self._open[number]
            self._most_open = len(self._open)
            stream.restart()
            self._waiting.appendleft(stream)
            return
        self._finish(stream, hears_us=False)

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if flags & _ACK:
            return
        settings = dict(_SETTING.iter_unpack(payload))
        initial = settings.get(_INITIAL_WINDOW_SIZE, self._initial_window)
        for stream in self._open.values():
            stream.window += initial - self._initial_window
        self._initial_window = initial
        self._largest_frame = max(_LEAST_FRAME, settings.get(_MAX_FRAME_SIZE, self._largest_frame))
        told = self._most_open if self._is_greeted else _LAST_STREAM  # without a word there is no limit
        self._most_open = settings.get(_MAX_CONCURRENT_STREAMS, told)
        self._is_greeted = True
        self._out.append(_frame(_SETTINGS, _ACK, 0, 0))
        self._send_bodies()
        self._begin_waiting()

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if not flags & _ACK:
            self._out += (_frame(_PING, _ACK, 0, len(payload)), payload)

    def _on_goaway(self, flags: int, number: int, payload: bytes) -> None:
        self.is_leaving = True
        last = _NUMBER.unpack_from(payload)[0] & _LAST_STREAM
        unseen = [stream for number, stream in self._open.items() if number > last]
        unseen += self._waiting
        self._waiting.clear()
        for stream in unseen:
            stream.failure = LeavingError("the server is going away")
            self._finish(stream, hears_us=False)

    def _on_window_update(self, flags: int, number: int, payload: bytes) -> None:
        (size,) = _NUMBER.unpack(payload)
        if number == 0:
            self._window += size
            self._send_bodies()
        elif number in self._open:
            stream = self._open[number]
            stream.window += size
            self._send_body(stream)

    def _finish(self, stream: Stream, *, hears_us: bool) -> None:
        self._open.pop(stream.number, None)
        if hears_us:
            self._reset(stream)
        stream.is_finished = True
        self._finished.append(stream)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._open) < self._most_open:
            self._begin(self._waiting.popleft())

    def _send_headers(self, stream: Stream) -> None:
        kind, most, block = _HEADERS, self._largest_frame, stream.block
        while len(block) > most:
            self._out += (_frame(kind, 0, stream.number, most), block[:most])
            kind, block = _CONTINUATION, block[most:]
        self._out += (_frame(kind, _END_HEADERS, stream.number, len(block)), block)

    def _send_bodies(self) -> None:
        for stream in self._open.values():
            self._send_body(stream)

    def _send_body(self, stream: Stream) -> None:
        while stream.left:
            size = min(len(stream.left), self._largest_frame, self._window, stream.window)
            if size <= 0:
                return
            part, stream.left = stream.left[:size], stream.left[size:]
            self._window -= size
            stream.window -= size
            self._out += (_frame(_DATA, 0 if stream.left else _END_STREAM, stream.number, size), part)

    def _reset(self, stream: Stream) -> None:
        self._out += (_frame(_RST_STREAM, 0, stream.number, 4), _NUMBER.pack(_CANCEL))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


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
