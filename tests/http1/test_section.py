from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.fields import BadResponse
from pagent.http1.section import SectionBuffer
from tests.http1.sinks import split_at

HEAD = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"


def cut_all(pieces: list[bytes], limit: int = 100) -> tuple[bytes, bytes] | None:
    """Return the section and all bytes after it."""
    section = SectionBuffer(limit, b"HTTP/")
    for index, piece in enumerate(pieces):
        cut = section.cut(piece, 0)
        if cut is not None:
            return cut[0], piece[cut[1] :] + b"".join(pieces[index + 1 :])
    return None


@given(st.lists(st.integers(0, len(HEAD) + 5), max_size=6))
def test_any_split(places: list[int]) -> None:
    data = HEAD + b"\r\n\r\nx"
    assert cut_all(split_at(data, *places)) == (HEAD[:-4], b"\r\n\r\nx")


def test_it_begins_at_the_offset_and_is_ready_for_the_next() -> None:
    section = SectionBuffer(100, b"HTTP/")
    data = b"zz" + HEAD + HEAD[:5]
    assert section.cut(data, 2) == (HEAD[:-4], 2 + len(HEAD))
    assert section.cut(data, 2 + len(HEAD)) is None
    assert section.cut(HEAD[5:] + b"x", 0) == (HEAD[:-4], len(HEAD) - 5)
    assert section.cut(b"_" + HEAD, 1) == (HEAD[:-4], 1 + len(HEAD))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_limit_counts_the_blank_line(step: int) -> None:
    pieces = [HEAD[at : at + step] for at in range(0, len(HEAD), step)]
    assert cut_all(pieces, limit=len(HEAD)) == (HEAD[:-4], b"")
    with pytest.raises(BadResponse, match="too large"):
        cut_all(pieces, limit=len(HEAD) - 1)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200\rX", b"HTTP/\0", b"HTTP/1.1 200 OK\r\n\t", b"HTTP/1.1 200 OK\r\n ", b"HTTQ"],
)
def test_what_can_no_longer_become_good_is_a_fault_at_once(start: bytes) -> None:
    for step in (1, 2, 3, len(start)):
        pieces = [start[at : at + step] for at in range(0, len(start), step)]
        assert cut_all(pieces[:-1]) is None
        with pytest.raises(BadResponse):
            cut_all(pieces)
