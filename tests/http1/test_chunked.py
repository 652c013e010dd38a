from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.chunked import CHUNK_JOIN_MAX, ChunkedDecoder
from pagent.http1.fields import BadResponse
from pagent.limits import CHUNK_LINE_MAX, RESPONSE_FIELDS_MAX, TRAILERS_MAX
from tests.http1.sinks import split_at


def decode(pieces: list[bytes]) -> tuple[bytes, list[list[str]], int]:
    """The body, the trailers, and how many bytes were left over."""
    parts: list[bytes] = []
    decoder = ChunkedDecoder(lambda data: parts.append(bytes(data)))
    for index, piece in enumerate(pieces):
        end = decoder.feed(piece, 0)
        if end is not None:
            return b"".join(parts), decoder.fields, len(piece) - end + sum(map(len, pieces[index + 1 :]))
    raise EOFError


def encode(chunks: list[bytes], trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


sizes = st.integers(1, 50) | st.integers(CHUNK_JOIN_MAX - 2, CHUNK_JOIN_MAX + 2)


@given(st.lists(sizes, max_size=6), st.booleans(), st.data())
def test_any_split_gives_the_same(sizes: list[int], trailers: bool, draw: st.DataObject) -> None:
    chunks = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    data = encode(chunks, b"X-A: 1\r\nX-B: 2\r\n" if trailers else b"") + b"left"
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=8))
    expected = [["X-A", "1"], ["X-B", "2"]] if trailers else []
    assert decode(split_at(data, *places)) == (b"".join(chunks), expected, 4)


def test_byte_by_byte() -> None:
    data = encode([b"hello", b"x" * 17], b"A1: b\r\n") + b"r"
    assert decode([bytes([byte]) for byte in data]) == (b"hello" + b"x" * 17, [["A1", "b"]], 1)


def test_it_begins_at_the_offset() -> None:
    parts: list[bytes] = []
    decoder = ChunkedDecoder(lambda data: parts.append(bytes(data)))
    assert decoder.feed(b"head3", 4) is None
    # The position is one of this data, also with a kept start of the line, and after other bytes.
    assert decoder.feed(b"__\r\nabc\r\n0\r\n\r\nrest", 2) == 14
    assert parts == [b"abc"]


def test_small_chunks_are_joined_and_large_ones_are_not_copied() -> None:
    pieces: list[bytes | memoryview] = []
    decoder = ChunkedDecoder(pieces.append)
    large = b"L" * CHUNK_JOIN_MAX
    decoder.feed(encode([b"a", b"b", large, b"c", b"d"]), 0)
    assert [bytes(piece) for piece in pieces] == [b"ab", large, b"cd"]
    assert [type(piece) for piece in pieces] == [bytes, memoryview, bytes]


def test_data_that_is_all_body_is_passed_on_itself() -> None:
    pieces: list[bytes | memoryview] = []
    decoder = ChunkedDecoder(pieces.append)
    data = b"x" * 65536
    decoder.feed(b"20000\r\n", 0)
    decoder.feed(data, 0)
    assert pieces[0] is data


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"05",
        b"0000000000000005",
        b"5;a",
        b"5;a=b;c",
        b'5;a="b c"',
        b"5 ;a",
        b"5 ",
        b"5\t \t",
        b"5\t ;a=\xff",
        b"5;" + b"x" * 1000,
    ],
)
def test_size_lines(line: bytes) -> None:
    data = line + b"\r\nhello\r\n" + line + b"\r\nworld\r\n0" + line[1:].lstrip(b"05") + b"\r\n\r\n"
    assert decode([data]) == (b"helloworld", [], 0)
    assert decode([bytes([byte]) for byte in data]) == (b"helloworld", [], 0)


@pytest.mark.parametrize("line", [b"a", b"A", b"0a"])
def test_sizes_are_hexadecimal(line: bytes) -> None:
    assert decode([line + b"\r\n0123456789\r\n0\r\n\r\n"]) == (b"0123456789", [], 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",  # no size
        b"5\nhello\r\n0\r\n\r\n",  # LF alone
        b"5\rhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"5 \nhello\r\n0\r\n\r\n",
        b"5" + b" " * CHUNK_LINE_MAX + b"\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b'"5"\r\nhello\r\n0\r\n\r\n',
        b"5,5\r\nhello\r\n0\r\n\r\n",
        b"\xb25\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",  # LF in an extension: a lenient reader's line end
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",  # 17 digits
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",  # 5, to a reader of 64 bits
        b"ffffffffffffffff\r\nhello",  # -1, to a reader of signed ones
        b"8000000000000000\r\nhello",
        b"5\r\nhelloX\r\n0\r\n\r\n",  # longer than its size
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",  # no CRLF after the data
        b"5\r\nhell\r\n0\r\n\r\n",  # shorter than its size
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\nA\r\n\r\n",  # a trailer without a colon
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\nB: c\r\n\r\n",
        b"0\r\nA: b\0\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",  # obs-fold
        b"0\r\nx\r\n\r\n",
        b"5;" + b"x" * CHUNK_LINE_MAX + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nA: " + b"x" * TRAILERS_MAX + b"\r\n\r\n",
        b"0\r\n" + b"A:\r\n" * (RESPONSE_FIELDS_MAX + 1) + b"\r\n",
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(BadResponse):
        decode([data])
    with pytest.raises(BadResponse):
        decode([bytes([byte]) for byte in data])


def test_what_came_before_a_fault_is_handed_on() -> None:
    pieces: list[bytes | memoryview] = []
    decoder = ChunkedDecoder(pieces.append)
    with pytest.raises(BadResponse):
        decoder.feed(b"3\r\nabc\r\n3\r\ndef\r\nzz\r\n", 0)
    assert pieces == [b"abcdef"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    decoder = ChunkedDecoder(lambda data: None)
    decoder.feed(b"5;" + b"x" * (CHUNK_LINE_MAX - 2), 0)
    with pytest.raises(BadResponse):
        decoder.feed(b"x", 0)


def test_trailers_that_would_frame_or_route_are_left_out() -> None:
    fields = (
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: x\r\nConnection: close\r\nX-Sum: 1\r\nx-sum:2 \r\n"
    )
    assert decode([encode([], fields)])[1] == [["X-Sum", "1"], ["x-sum", "2"]]
