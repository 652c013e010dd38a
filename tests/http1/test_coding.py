from __future__ import annotations

import gzip
import importlib.util
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.buffers import BODY_CHUNK
from pagent.http1.coding import CodingError, Decoder, UnknownCodingError, decoder_for
from tests.http1.sinks import split_at

TEXT = b"hello, world! " * 500


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


#: Coding, and what applies it.
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
def test_nothing_to_undo(coding: str | None) -> None:
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


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard"), ("gzip, br", "brotli")])
def test_a_coding_whose_package_is_missing_is_named(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnknownCodingError, match=f"'{package}'"):
        decoder_for(coding)


def test_a_brotli_that_cannot_bound_its_output_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        Decompressor = object

    monkeypatch.setitem(sys.modules, "brotli", Old)  # type: ignore[arg-type]
    with pytest.raises(UnknownCodingError, match="brotli"):
        decoder_for("br")


#: What programs have been seen to leave after a body: padding of a tape block, line ends, text.
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


@pytest.mark.skipif(not INSTALLED["zstandard"], reason="needs zstandard")
def test_frames_of_zstd_follow_each_other_and_windows_are_bounded() -> None:
    data = zstandard.compress(b"one") + zstandard.compress(TEXT)
    assert decode("zstd", [data]) == decode("zstd", [bytes([byte]) for byte in data]) == b"one" + TEXT
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compressobj()
    with pytest.raises(CodingError):
        decode("zstd", [wide.compress(b"x" * 100) + wide.flush()])


@pytest.mark.parametrize("coding", CODINGS)
def test_corrupt(coding: str) -> None:
    data = CODINGS[coding](TEXT)
    with pytest.raises(CodingError):
        decode(coding, [b"\xff\xff" + data[2:]])


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


def test_bare_deflate_is_told_from_zlib_by_its_first_two_bytes() -> None:
    stored = zlib.compressobj(level=0, wbits=-15)
    for data in (raw_deflate(b""), raw_deflate(TEXT), stored.compress(TEXT) + stored.flush()):
        assert decode("deflate", [data[:1], data[1:]]) in (b"", TEXT)
    for level in range(-1, 10):
        for window in range(9, 16):
            deflate = zlib.compressobj(level=level, wbits=window)
            data = deflate.compress(TEXT) + deflate.flush()
            assert decode("deflate", [data]) == TEXT


def test_work_that_gives_nothing_can_be_stopped() -> None:
    """A member of a gzip file may be empty, and so may be thousands of them in one of another."""
    members = gzip.compress(b"") * 5000
    for coding, data in (("gzip", members), ("gzip, gzip", gzip.compress(members))):
        decoder = make(coding)
        pieces = list(decoder.feed(data))
        decoder.finish()
        assert b"".join(pieces) == b""
        assert len(pieces) >= 5000
