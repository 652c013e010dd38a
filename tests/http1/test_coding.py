"""All codings: whole, in pieces, corrupt, cut short, and bombs; and values of Content-Encoding."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.buffers import BODY_CHUNK
from pagent.http1.coding import decoder_for
from pagent.http1.decoder import CodingError, UnknownCodingError
from tests.http1.codings import CODINGS, TEXT, decode, make
from tests.http1.sinks import split_at


@pytest.mark.parametrize("coding", CODINGS)
def test_whole_and_byte_by_byte(coding: str) -> None:
    for text in (b"", b"x", TEXT):
        data = CODINGS[coding](text)
        assert decode(coding, [data]) == text
        assert decode(coding, [bytes([byte]) for byte in data]) == text


@given(st.sampled_from(sorted(CODINGS)), st.binary(max_size=300), st.data())
def test_any_split(coding: str, text: bytes, draw: st.DataObject) -> None:
    data = CODINGS[coding](text)
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=5))
    assert decode(coding, split_at(data, *places)) == text


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_of_no_bytes_has_nothing_to_decode(coding: str) -> None:
    assert decode(coding, []) == b""
    assert decode(coding, [b""]) == b""


@pytest.mark.parametrize(
    "coding",
    [
        None, "", "identity", "Identity, identity", " , ", "utf-8", "UTF-8", "none", "binary", "8bit", "7bit",
        "ISO-8859-1", "none, utf-8",
    ],
)  # fmt: skip
def test_values_that_name_no_coding(coding: str | None) -> None:
    assert decoder_for(coding) is None


@pytest.mark.parametrize("coding", ["compress", "gzip, brotli", "gzipp", "gzip;q=1", "utf-9", "x" * 1000])
def test_unknown_codings(coding: str) -> None:
    with pytest.raises(UnknownCodingError, match="unknown") as raised:
        decoder_for(coding)
    assert isinstance(raised.value, LookupError)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize("coding", ["gzip, gzip, gzip", "gzip, deflate, gzip, gzip", "," * 100_000])
def test_too_many_codings(coding: str) -> None:
    with pytest.raises(UnknownCodingError, match="too many"):
        decoder_for(coding)


@pytest.mark.parametrize("coding", CODINGS)
def test_cut_short(coding: str) -> None:
    data = CODINGS[coding](TEXT)
    for length in {1, 2, 3, 10, len(data) // 2, len(data) - 1}:
        with pytest.raises(CodingError):
            decode(coding, [data[:length]])


@pytest.mark.parametrize("coding", CODINGS)
def test_corrupt(coding: str) -> None:
    data = CODINGS[coding](TEXT)
    with pytest.raises(CodingError):
        decode(coding, [b"\xff\xff" + data[2:]])


@pytest.mark.parametrize("coding", sorted({"gzip", "deflate", " deflate ", "br", "zstd"} & CODINGS.keys()))
def test_a_bomb_comes_in_small_pieces_and_only_as_asked_for(coding: str) -> None:
    size = 20 * BODY_CHUNK + 1
    bomb = CODINGS[coding](bytes(size))
    assert len(bomb) * 500 < size
    decoder = make(coding)
    sizes = [len(piece) for piece in decoder.feed(bomb)]
    decoder.finish()
    assert sum(sizes) == size
    assert max(sizes) <= BODY_CHUNK

    lazy = make(coding)
    pieces = lazy.feed(bomb)
    assert len(next(pieces)) == BODY_CHUNK
    with pytest.raises(CodingError):
        lazy.finish()


def test_bombs_in_a_bomb_come_in_small_pieces() -> None:
    size = 8 * BODY_CHUNK
    decoder = make("gzip, gzip")
    sizes = [len(piece) for piece in decoder.feed(memoryview(gzip.compress(gzip.compress(bytes(size)))))]
    decoder.finish()
    assert sum(sizes) == size
    assert max(sizes) <= BODY_CHUNK
