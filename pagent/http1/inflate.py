"""The content codings ``gzip`` and ``deflate`` (RFC 9110 8.4.1.2, 8.4.1.3)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from pagent.buffers import BODY_CHUNK
from pagent.http1.decoder import CodingError, steps

# Window bits of zlib: with a gzip header, a zlib header, none.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

#: The beginning of a gzip member (RFC 1952 2.3.1).
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"


class GzipDecoder:
    """Decodes RFC 1952 data of one member or several. A body of no bytes is accepted: there is nothing to decode.

    Bytes after a member that do not begin another one are dropped, as gzip(1) and browsers do: zeros that fill a block,
    or a line end. The response is framed anew for the caller, so no other decoder sees them.
    """

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None  # None between members
        self._members = 0
        self._start = b""  # bytes after a member that may begin another one
        self._padding = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for step in steps(data):
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
        """Begin a member if ``data`` does, and return the bytes for it."""
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
    """Decodes RFC 1950 data, which is "deflate", or plain RFC 1951 data, which some servers send under this name."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None  # None until the format is known
        self._start = b""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        if self._inflate is None:
            # The two bytes of a zlib header differ from those of any first block of plain data.
            self._start += bytes(data[:2])
            if len(self._start) < 2:
                return
            data = self._start + bytes(data[2:])
            self._inflate = zlib.decompressobj(_ZLIB if _is_zlib_header(data) else _RAW)
        for step in steps(data):
            if self._inflate.eof:
                return  # the rest is padding, as for gzip
            yield from _inflated(self._inflate, step)

    def finish(self) -> None:
        ended = self._inflate.eof if self._inflate is not None else not self._start
        if not ended:
            raise CodingError("deflate data is cut short")


def _is_zlib_header(data: bytes | memoryview) -> bool:
    """Check RFC 1950 2.2: the method is 8, the window at most 32 KiB, and the two bytes are a multiple of 31."""
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0


def _inflated(inflate: zlib._Decompress, data: bytes | memoryview) -> Iterator[bytes]:
    """Return the output of ``data``, up to the end of its stream; it may be an empty piece."""
    while True:
        try:
            piece = inflate.decompress(data, BODY_CHUNK)
        except zlib.error as error:
            raise CodingError(f"corrupt compressed data: {error}") from None
        yield piece
        data = inflate.unconsumed_tail
        # After a full piece there may be more output though all of the input is used up.
        if inflate.eof or (not data and len(piece) < BODY_CHUNK):
            return
