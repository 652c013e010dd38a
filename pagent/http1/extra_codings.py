"""The content codings ``br`` and ``zstd``, by the packages of the extra ``codings``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pagent.buffers import BODY_CHUNK
from pagent.http1.decoder import CodingError, pieces, steps
from pagent.limits import ZSTD_WINDOW_MAX

#: Compressed bytes given to zstandard at a time. It returns all output at once: blocks of 4 bytes may stand for 128 KiB
#: each, so 2 MiB.
ZSTD_STEP: Final = 64


class BrotliDecoder:
    """Decodes RFC 7932 data by the package brotli. Versions before 1.2 cannot bound their output, and are not used.

    :raises ImportError: the package is not installed, or too old.
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
        for step in steps(data):
            piece = self._process(bytes(step))
            yield from pieces(piece)
            # It returns that it can accept more input even if it has not returned all output.
            while not self._decoder.is_finished() and (piece or not self._decoder.can_accept_more_data()):
                piece = self._process(b"")
                yield from pieces(piece)

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
    """Decodes RFC 8878 data of one frame or several by the package zstandard, with windows of at most 8 MiB (RFC 9659).

    The package has no bound for its output, but four bytes cannot become more than a block of 128 KiB. So it is given a
    few bytes at a time.

    :raises ImportError: the package is not installed.
    """

    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
        self._frame: Any = None  # None between frames

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        for step in steps(data):
            decoded = b""
            for start in range(0, len(step), ZSTD_STEP):
                decoded += self._decompress(bytes(step[start : start + ZSTD_STEP]))
                if len(decoded) >= BODY_CHUNK:
                    yield from pieces(decoded)
                    decoded = b""
            yield from pieces(decoded)

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
