"""Content codings for tests, and their decoding in one call."""

from __future__ import annotations

import gzip
import importlib.util
import zlib

from pagent.http1.coding import decoder_for
from pagent.http1.decoder import Decoder

TEXT = b"hello, world! " * 500


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


#: Codings, and the functions that apply them.
CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": raw_deflate,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
    "gzip,identity ,deflate": lambda data: raw_deflate(gzip.compress(data)),
}


INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("brotli", "zstandard")}

if INSTALLED["brotli"]:
    import brotli

    CODINGS |= {"br": brotli.compress, "gzip, br": lambda data: brotli.compress(gzip.compress(data))}
if INSTALLED["zstandard"]:
    import zstandard

    CODINGS |= {"zstd": zstandard.compress, "zstd, gzip": lambda data: gzip.compress(zstandard.compress(data))}


def make(coding: str) -> Decoder:
    decoder = decoder_for(coding)
    assert decoder is not None
    return decoder


def decode(coding: str, pieces: list[bytes]) -> bytes:
    decoder = make(coding)
    data = b"".join(part for piece in pieces for part in decoder.feed(piece))
    decoder.finish()
    return data
