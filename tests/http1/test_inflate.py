"""gzip and deflate: members, padding, checksums and both formats of deflate."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.decoder import CodingError
from tests.http1.codings import CODINGS, TEXT, decode, make, raw_deflate
from tests.http1.sinks import split_at

#: Bytes that programs leave after a body: padding of a tape block, line ends, text.
PADDING = [
    b"\0",
    b"\0" * 40_000,
    b"\r\n",
    b"x",
    b"garbage" * 10,
    b"\x1f",
    b"\0\x1f\x8b",
    b"\x1f\x8bx",
    b"\x1f\x8b\x07" * 9,
]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", " deflate "])
@pytest.mark.parametrize("padding", PADDING)
def test_padding_after_the_end_is_dropped(coding: str, padding: bytes) -> None:
    data = CODINGS[coding](TEXT)
    for pieces in ([data + padding], [data, padding], [data, *(bytes([byte]) for byte in padding[:100])]):
        assert decode(coding, pieces) == TEXT


@given(st.sampled_from(PADDING), st.binary(max_size=50), st.data())
def test_any_split_of_padding_gives_the_same(padding: bytes, text: bytes, draw: st.DataObject) -> None:
    data = gzip.compress(text) + padding[:50] + (b"" if padding.strip(b"\0") else gzip.compress(text))
    expected = text if padding.strip(b"\0") else text + text
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=8))
    assert decode("gzip", split_at(data, *places)) == expected


def test_a_wrong_checksum() -> None:
    for coding in ("gzip", "deflate"):
        data = CODINGS[coding](TEXT)
        with pytest.raises(CodingError):
            decode(coding, [data[:-5] + bytes([data[-5] ^ 1]) + data[-4:] if coding == "gzip" else data[:-1] + b"\0"])


def test_members_of_gzip_follow_each_other() -> None:
    members = [gzip.compress(part) for part in (b"one", b"", b"two", TEXT)]
    data = b"".join(members)
    expected = b"onetwo" + TEXT
    assert decode("gzip", [data]) == expected
    assert decode("gzip", members) == expected
    assert decode("gzip", [bytes([byte]) for byte in data]) == expected
    with pytest.raises(CodingError, match="cut short"):
        decode("gzip", [data + members[0][:5]])


def test_plain_deflate_differs_from_zlib_in_its_first_two_bytes() -> None:
    stored = zlib.compressobj(level=0, wbits=-15)
    for data in (raw_deflate(b""), raw_deflate(TEXT), stored.compress(TEXT) + stored.flush()):
        assert decode("deflate", [data[:1], data[1:]]) in (b"", TEXT)
    for level in range(-1, 10):
        for window in range(9, 16):
            deflate = zlib.compressobj(level=level, wbits=window)
            data = deflate.compress(TEXT) + deflate.flush()
            assert decode("deflate", [data]) == TEXT


def test_work_without_output_can_be_paused() -> None:
    """A member of a gzip file may be empty, and so may be thousands of them in one of another."""
    members = gzip.compress(b"") * 5000
    for coding, data in (("gzip", members), ("gzip, gzip", gzip.compress(members))):
        decoder = make(coding)
        pieces = list(decoder.feed(data))
        decoder.finish()
        assert b"".join(pieces) == b""
        assert len(pieces) >= 5000
