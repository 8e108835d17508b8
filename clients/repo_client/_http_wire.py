# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as bytes: the head of a request, and the reader of an answer. No I/O."""

import zlib
from collections.abc import Mapping
from sys import exception
from urllib.parse import quote

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from repo_client._errors import InputError
from repo_client._options import Compression

_FRAMING = frozenset(
    ("connection", "content-encoding", "content-length", "inference-header-content-length", "transfer-encoding")
)
_WINDOW_BITS: dict[Compression, int] = {"gzip": 31, "deflate": 15}
_EITHER = 47  # zlib's window bits for both of them, told apart by what comes first
_FASTEST = 1  # numbers hardly shrink further with more effort


def encode_headers(headers: Mapping[str, str]) -> str:
    """The lines of ``headers``, whose names are in lower case.

    Raises:
        InputError: a header that frames the message.
    """
    if not _FRAMING.isdisjoint(headers):
        names = ", ".join(sorted(_FRAMING.intersection(headers)))
        raise InputError(f"headers of the protocol's own: {names}", hint="leave them to the client")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def encode_path(path: str) -> str:
    """A path as an address has it, with what a request line cannot carry escaped."""
    return quote(path, safe="/%:@!$&'()*+,;=~")


def compress(body: bytes, how: Compression) -> bytes:
    """The body as ``Content-Encoding: how`` has it."""
    packer = zlib.compressobj(_FASTEST, wbits=_WINDOW_BITS[how])
    return packer.compress(body) + packer.flush()


def decompress(body: bytes | bytearray) -> bytes:
    """The body that came as gzip or deflate.

    Raises:
        zlib.error: it is neither.
    """
    return zlib.decompress(body, wbits=_EITHER)


class ReplyReader:
    """Reads one answer: receive into ``buffer()``, then say by ``received()`` how much it was, until ``is_complete``.

    A body whose length is known is received where it stays, without another copy. Without ``has_body`` the answer ends
    with its headers, as that to CONNECT does.
    """

    def __init__(self, scratch: memoryview, *, has_body: bool = True) -> None:
        self._parser = HttpResponseParser(self)
        self._scratch = scratch
        self._has_body = has_body
        self._length: int | None = None
        self._body = bytearray()
        self._filled = 0
        self._direct = False
        self._until_eof = False
        self._has_refused = False  # by an exception from one of the methods that the parser calls
        self.is_complete = False
        self.keep_alive = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}  # names in lower case

    def buffer(self) -> memoryview:
        """Where the next bytes of the connection belong."""
        return memoryview(self._body)[self._filled :] if self._direct else self._scratch

    def received(self, count: int) -> None:
        """Take the first ``count`` bytes of what ``buffer()`` returned; 0 is the end of the connection.

        Raises:
            EOFError: the connection ended before the answer did.
            HttpParserError: this is not HTTP, or more than there is room for.
        """
        if not count:
            self._end()
        elif self._direct:
            self._filled += count
            self.is_complete = self._filled == len(self._body)
        else:
            self._parse(self._scratch[:count])

    def _end(self) -> None:
        if not self._until_eof:
            raise EOFError("closed before the answer was whole")
        self.is_complete = True

    def _parse(self, data: memoryview) -> None:
        handled = exception()
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise HttpParserError("an upgrade that nobody asked for") from error
        except HttpParserError as error:
            if isinstance(error, HttpParserCallbackError) and not self._has_refused:
                raise _interruption(error, handled) from None
            if not self.is_complete:
                raise
            self.keep_alive = False  # more than was asked for: what comes next would be read as the next answer
        if not self.is_complete and self._length is not None:
            self._direct = True

    @property
    def body(self) -> bytearray:
        """The whole body, as it was sent."""
        return self._body

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self.is_complete:
            self._has_refused = True
            raise HttpParserCallbackError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self.is_complete = not self._has_body
        self.keep_alive = self.is_complete or self._parser.should_keep_alive()
        if b"transfer-encoding" in self.headers:
            return
        length = self.headers.get(b"content-length")
        if length is None:
            self._until_eof = self.status not in (204, 304)
            return
        self._length = int(length)
        try:
            self._body = bytearray(self._length)
        except (MemoryError, OverflowError):
            self._has_refused = True
            raise

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._length is None:
            self._body += data
            return
        end = self._filled + len(data)
        self._body[self._filled : end] = data
        self._filled = end

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self.status < 200:  # an interim answer; the real one follows
            self.headers.clear()
        else:
            self.is_complete = True


def _interruption(error: HttpParserCallbackError, handled: BaseException | None) -> BaseException:
    """What a signal raised while the parser called us, as Ctrl-C does; the parser puts an error of its own over it.

    Where the caller is at ``handled``, that has taken the place of it, and Ctrl-C is as good as certain.
    """
    cause = error.__context__
    return KeyboardInterrupt() if cause is None or cause is handled else cause
