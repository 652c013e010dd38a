"""Undoing a response's Content-Encoding (RFC 9110 8.4.1), for callers that take away the field and not the coding.

A little compressed data can become a thousand times as much, or keep a decoder busy and give nothing. So output comes
from an iterator, in pieces of at most ``BODY_CHUNK``: what is not asked for is not decoded, and no allocation is larger
than a piece.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from pagent.errors import PagentError
from pagent.limits import BODY_CHUNK, CONTENT_CODINGS_MAX, DECODE_STEP

# Window bits of zlib: with a gzip header, a zlib header, none.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class UnknownCodingError(PagentError, LookupError):
    """A Content-Encoding that cannot be undone here: the body can only go on with its field."""


class CodingError(PagentError):
    """The body is not what its Content-Encoding says: corrupt, cut short, or with something behind its end."""


class Decoder(Protocol):
    """One body's decoder."""

    def feed(self, data: bytes | memoryview, /) -> Iterator[bytes]:
        """Pieces of the decoded body; an empty one for work that gave nothing. To be exhausted before the next call.

        :raises CodingError: while iterating.
        """

    def finish(self) -> None:
        """The body has ended.

        :raises CodingError: the coded data has not.
        """


def decoder_for(content_encoding: str | None) -> Decoder | None:
    """The decoder for a Content-Encoding value; None if the body is not encoded.

    :raises UnknownCodingError: an unknown coding, or more codings than anyone needs.
    """
    if content_encoding is None:
        return None
    if content_encoding.count(",") > 2 * CONTENT_CODINGS_MAX:
        raise UnknownCodingError("too many content codings")
    codings = [name for part in content_encoding.split(",") if (name := part.strip(" \t").lower())]
    codings = [name for name in codings if name != "identity"]
    if len(codings) > CONTENT_CODINGS_MAX:
        raise UnknownCodingError("too many content codings")
    decoder: Decoder | None = None
    # They are named in the order in which they were applied.
    for name in reversed(codings):
        layer = _decoder(name)
        decoder = layer if decoder is None else _Chain(decoder, layer)
    return decoder


def _decoder(name: str) -> Decoder:
    if name in ("gzip", "x-gzip"):
        return GzipDecoder()
    if name == "deflate":
        return DeflateDecoder()
    raise UnknownCodingError(f"unknown content coding {name[:40]!r}")


class GzipDecoder:
    """RFC 1952: one member or several. A body of no bytes at all is let pass: it has nothing to decode."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None  # None between members

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for step in _steps(data):
            rest: bytes | memoryview = step
            while rest:
                if self._inflate is None:
                    self._inflate = zlib.decompressobj(_GZIP)
                yield from _inflated(self._inflate, rest)
                rest = b""
                if self._inflate.eof:
                    # Whatever follows has to be a member too; what is none fails at its header.
                    rest = self._inflate.unused_data
                    self._inflate = None

    def finish(self) -> None:
        if self._inflate is not None:
            raise CodingError("gzip data is cut short")


class DeflateDecoder:
    """RFC 1950, or bare RFC 1951: "deflate" means the former, and some servers have always sent the latter."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None  # None until it is clear which one it is
        self._start = b""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        if self._inflate is None:
            # The two bytes of a zlib header tell themselves from the first block of bare data.
            self._start += bytes(data[:2])
            if len(self._start) < 2:
                return
            data = self._start + bytes(data[2:])
            self._inflate = zlib.decompressobj(_ZLIB if _is_zlib_header(data) else _RAW)
        for step in _steps(data):
            if self._inflate.eof:
                raise CodingError("data behind the end of deflate data")
            yield from _inflated(self._inflate, step)
            if self._inflate.unused_data:
                raise CodingError("data behind the end of deflate data")

    def finish(self) -> None:
        ended = self._inflate.eof if self._inflate is not None else not self._start
        if not ended:
            raise CodingError("deflate data is cut short")


class _Chain:
    """``outer`` undoes what was applied last; what comes out of it goes through ``inner``."""

    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            if piece:
                yield from self._inner.feed(piece)
            else:
                yield piece

    def finish(self) -> None:
        self._outer.finish()
        self._inner.finish()


def _is_zlib_header(data: bytes | memoryview) -> bool:
    """RFC 1950 2.2: the method is 8, the window at most 32 KiB, and the two bytes are a multiple of 31."""
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0


def _steps(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), DECODE_STEP):
        yield view[start : start + DECODE_STEP]


def _inflated(inflate: zlib._Decompress, data: bytes | memoryview) -> Iterator[bytes]:
    """All that ``data`` gives, up to the end of its stream; that may be an empty piece."""
    while True:
        try:
            piece = inflate.decompress(data, BODY_CHUNK)
        except zlib.error as error:
            raise CodingError(f"corrupt compressed data: {error}") from None
        yield piece
        data = inflate.unconsumed_tail
        # A full piece may have more behind it though all of the input is used up.
        if inflate.eof or (not data and len(piece) < BODY_CHUNK):
            return
