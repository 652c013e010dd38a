"""Undoing a response's Content-Encoding (RFC 9110 8.4.1), for callers that take away the field and not the coding.

A little compressed data can become a thousand times as much, or keep a decoder busy and give nothing. So output comes
from an iterator, in pieces of at most ``BODY_CHUNK``: what is not asked for is not decoded, and what a decoder gives at
once is bounded.

``br`` and ``zstd`` are decoded where the packages brotli and zstandard are installed (the extra ``codings``).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final, Protocol

from pagent.buffers import BODY_CHUNK
from pagent.errors import PagentError
from pagent.limits import CONTENT_CODINGS_MAX, KIB, ZSTD_WINDOW_MAX

#: Compressed bytes given to a decoder at a time. A decoder copies what it cannot use yet for each piece of output.
DECODE_STEP: Final = 16 * KIB
#: The same for zstandard, which returns all output at once: blocks of 4 bytes may stand for 128 KiB each, so 2 MiB.
ZSTD_STEP: Final = 64


# Window bits of zlib: with a gzip header, a zlib header, none.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

#: How a gzip member begins (RFC 1952 2.3.1).
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"

#: What programs say of a body that is not encoded at all: character sets, and values of Content-Transfer-Encoding.
#: Browsers show such a body as it is.
_IDENTITY: Final = frozenset(
    [
        "",
        "identity",
        "none",
        "null",
        "plain",
        "text",
        "raw",
        "binary",
        "7bit",
        "8bit",
        "utf-8",
        "utf8",
        "utf-16",
        "ascii",
        "us-ascii",
        "iso-8859-1",
        "iso-8859-15",
        "latin-1",
        "latin1",
        "windows-1252",
    ]
)


class UnknownCodingError(PagentError, LookupError):
    """A Content-Encoding that cannot be undone here: the body can only go on with its field."""


class CodingError(PagentError):
    """The body is not what its Content-Encoding says: it is corrupt or cut short."""


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


def is_encoded(content_encoding: str) -> bool:
    """Whether a Content-Encoding value names a coding at all."""
    return any(part.strip(" \t").lower() not in _IDENTITY for part in content_encoding.split(","))


def decoder_for(content_encoding: str | None) -> Decoder | None:
    """The decoder for a Content-Encoding value; None if the body is not encoded.

    :raises UnknownCodingError: an unknown coding, or more codings than anyone needs.
    """
    if content_encoding is None:
        return None
    if content_encoding.count(",") > 2 * CONTENT_CODINGS_MAX:
        raise UnknownCodingError("too many content codings")
    codings = [name for part in content_encoding.split(",") if (name := part.strip(" \t").lower())]
    codings = [name for name in codings if name not in _IDENTITY]
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
    try:
        if name == "br":
            return BrotliDecoder()
        if name == "zstd":
            return ZstdDecoder()
    except ImportError as error:
        needs = f"the agent has no usable package {error.name!r}"
        raise UnknownCodingError(f"content coding {name!r} cannot be undone: {needs}") from None
    raise UnknownCodingError(f"unknown content coding {name[:40]!r}")


class GzipDecoder:
    """RFC 1952: one member or several. A body of no bytes at all is let pass: it has nothing to decode.

    What follows a member and does not begin like another one is dropped, as gzip(1) and browsers do: zeros that fill a
    block, or a line end. The response is framed anew for the caller, so no second reader sees it.
    """

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None  # None between members
        self._members = 0
        self._start = b""  # of what follows a member and may be another one
        self._padding = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for step in _steps(data):
            rest: bytes | memoryview = step
            while rest and not self._padding:
                if self._inflate is None:
                    rest = self._begin(rest)
                    continue
                yield from _inflated(self._inflate, rest)
                rest = b""
                if self._inflate.eof:
                    rest = self._inflate.unused_data
                    self._inflate = None
                    self._members += 1

    def _begin(self, data: bytes | memoryview) -> bytes | memoryview:
        """Begin a member if ``data`` does, and return what is for it."""
        if self._members:
            if self._start:
                data = self._start + bytes(data)
            elif data[0] == 0:
                data = bytes(data).lstrip(b"\0")
            start = bytes(data[: len(_GZIP_MAGIC)])
            if start != _GZIP_MAGIC:
                self._start = start
                self._padding = not _GZIP_MAGIC.startswith(start)
                return b""
            self._start = b""
        self._inflate = zlib.decompressobj(_GZIP)
        return data

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
                return  # what follows is padding, as for gzip
            yield from _inflated(self._inflate, step)

    def finish(self) -> None:
        ended = self._inflate.eof if self._inflate is not None else not self._start
        if not ended:
            raise CodingError("deflate data is cut short")


class BrotliDecoder:
    """RFC 7932, by the package brotli; one that cannot bound its output (before 1.2) is of no use.

    :raises ImportError: it is not installed.
    """

    def __init__(self) -> None:
        import brotli

        if not hasattr(brotli.Decompressor, "can_accept_more_data"):
            raise ImportError("brotli is too old", name="brotli")
        self._error: type[Exception] = brotli.error
        self._decoder = brotli.Decompressor()
        self._empty = True

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        self._empty = self._empty and not data
        for step in _steps(data):
            piece = self._process(bytes(step))
            yield from _cut(piece)
            # It says that it can accept more also where it has used all of its input and not given all output.
            while not self._decoder.is_finished() and (piece or not self._decoder.can_accept_more_data()):
                piece = self._process(b"")
                yield from _cut(piece)

    def _process(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._decoder.process(data, output_buffer_limit=BODY_CHUNK)
        except self._error as error:
            raise CodingError(f"corrupt compressed data: {error}") from None
        return piece

    def finish(self) -> None:
        if not (self._empty or self._decoder.is_finished()):
            raise CodingError("brotli data is cut short")


class ZstdDecoder:
    """RFC 8878, one frame or several, by the package zstandard, with windows of at most 8 MiB (RFC 9659).

    It has no bound for what it gives at once, but four bytes cannot become more than a block of 128 KiB: so it gets a
    few bytes at a time.

    :raises ImportError: it is not installed.
    """

    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
        self._frame: Any = None  # None between frames

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for step in _steps(data):
            decoded = b""
            for start in range(0, len(step), ZSTD_STEP):
                decoded += self._decompress(bytes(step[start : start + ZSTD_STEP]))
                if len(decoded) >= BODY_CHUNK:
                    yield from _cut(decoded)
                    decoded = b""
            yield from _cut(decoded)

    def _decompress(self, data: bytes) -> bytes:
        decoded = b""
        while data:
            if self._frame is None:
                self._frame = self._context.decompressobj()
            try:
                decoded += self._frame.decompress(data)
            except self._error as error:
                raise CodingError(f"corrupt compressed data: {error}") from None
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame = None
        return decoded

    def finish(self) -> None:
        if self._frame is not None:
            raise CodingError("zstd data is cut short")


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


def _cut(decoded: bytes) -> Iterator[bytes]:
    """What a decoder gave, in pieces; one that is empty for nothing."""
    if len(decoded) <= BODY_CHUNK:
        yield decoded
        return
    for start in range(0, len(decoded), BODY_CHUNK):
        yield decoded[start : start + BODY_CHUNK]


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
