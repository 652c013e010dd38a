from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.scan import lines_of, name_of, pairs_of, scan, scan_in_python, value_of, watch, without

BLOCK = b"Host: a\r\nX-Mine:b\r\ncOOkie:\t c=1 \r\nX-Pagent-A: \r\n"
WATCHED = watch(["host", "cookie"], ["x-pagent-"])

#: The bytes that the lines of a head are made of, those first that a fault is made of.
BYTES = b'\r\n:\t \x00\x01\x7f\x80\xffaHhostCOOKIEx-_0"(,'


def found(block: bytes) -> list[tuple[str, str]]:
    return [(name_of(block, place), value_of(block, place)) for place in scan(block, 0, WATCHED)[1]]


def test_watched_lines_are_found_in_any_case() -> None:
    assert scan(BLOCK, 0, WATCHED)[0] == 4
    assert found(BLOCK) == [("host", "a"), ("x-mine", "b"), ("cookie", "c=1"), ("x-pagent-a", "")]
    assert found(b"Accept: a\r\nHost2: b\r\n") == []
    assert scan(b"", 0, WATCHED) == (0, [])
    assert scan(BLOCK, len(BLOCK), WATCHED) == (0, [])


def test_lines_are_left_out() -> None:
    _, places = scan(BLOCK, 9, WATCHED)
    assert without(BLOCK, 9, places) == b""
    assert without(BLOCK, 0, places[:1]) == BLOCK.replace(b"X-Mine:b\r\n", b"")
    assert without(BLOCK, 9, []) == BLOCK[9:]


def test_lines_and_pairs() -> None:
    assert pairs_of(BLOCK) == [["Host", "a"], ["X-Mine", "b"], ["cOOkie", "c=1"], ["X-Pagent-A", ""]]
    assert pairs_of("a: ä\r\n".encode() + b"b: \xe4\r\n") == [["a", "ä"], ["b", "\udce4"]]
    assert lines_of([["A", "b"], ("c", "\udce4")]) == b"A: b\r\nc: \xe4\r\n"


@pytest.mark.parametrize(
    "pair", [("a", "b\r\nc: d"), ("a\r\nb", "c"), ("a", "b\n"), ("", "a"), ("a b", "c"), ("a", "\x00"), ("a", "\ud800")]
)
def test_no_field_begins_another_line(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"line|surrogate"):
        lines_of([("x", "y"), pair])


@pytest.mark.parametrize(
    "line",
    [
        b"a", b":", b": b\r\n", b"a b: c\r\n", b"a : b\r\n", b" a: b\r\n", b"a: b", b"a: b\r", b"a: b\n", b"a: b\r\r\n",
        b"a: \x00\r\n", b"a: \x7f\r\n", b"a: b\rc\r\n", b"a: b\nc\r\n", b"\r\n", b"a: b\r\n\r\n", b"\xe4: b\r\n",
    ],
)  # fmt: skip
def test_faults(line: bytes) -> None:
    for scanning in (scan, scan_in_python):
        with pytest.raises(ValueError, match="not valid"):
            scanning(b"x: y\r\n" + line, 0, WATCHED)


@given(st.lists(st.sampled_from([bytes([byte]) for byte in BYTES] + [b"\r\n", b"a: b\r\n", b"host:"]), max_size=20))
def test_both_find_the_same(pieces: list[bytes]) -> None:
    block = b"".join(pieces)
    outcomes = []
    for scanning in (scan, scan_in_python):
        try:
            outcomes.append(scanning(block, 0, WATCHED))
        except ValueError:
            outcomes.append((-1, []))
    assert outcomes[0] == outcomes[1]
    if outcomes[0][0] >= 0:
        # The rule as another reader has it: the lines are those of the block, and each is a field.
        assert outcomes[0][0] == block.count(b"\r\n")
        names = [line.partition(b":")[0].decode() for line in block.split(b"\r\n")[:-1]]
        assert [name for name, _ in pairs_of(block)] == names
