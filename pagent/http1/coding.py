"""Undo a response's Content-Encoding (RFC 9110 8.4.1), for callers that remove the field and not the coding.

A little compressed data can become a thousand times as much, or keep a decoder busy without output. So an iterator
returns output in pieces of at most ``BODY_CHUNK``, and the decoder works only for a piece that is asked for.

``br`` and ``zstd`` are decoded where the packages brotli and zstandard are installed (the extra ``codings``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pagent.http1.decoder import Decoder, UnknownCodingError
from pagent.http1.extra_codings import BrotliDecoder, ZstdDecoder
from pagent.http1.inflate import DeflateDecoder, GzipDecoder
from pagent.limits import CONTENT_CODINGS_MAX

#: Values that programs use for a body without a coding: character sets, and values of Content-Transfer-Encoding.
#: Browsers display such a body unchanged.
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


def is_encoded(content_encoding: str) -> bool:
    """Return whether a Content-Encoding value names a coding other than identity."""
    return any(part.strip(" \t").lower() not in _IDENTITY for part in content_encoding.split(","))


def decoder_for(content_encoding: str | None) -> Decoder | None:
    """Return a decoder for a Content-Encoding value; None if the body is not encoded.

    :raises UnknownCodingError: an unknown coding, or more than CONTENT_CODINGS_MAX.
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


class _Chain:
    """Two decoders: ``outer`` undoes the coding that was applied last, ``inner`` decodes its output."""

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
