"""Lines of heads and trailers: read and written, in Python and in C."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagent.http1 import lines, native, section
from pagent.http1.lines import (
    LEFT_OUT,
    is_clean,
    lines_of,
    pairs_of,
    read_lines,
    scan,
    scan_in_python,
    watch,
    write_lines,
)

#: Pieces of blocks, so that many have a fault of a few bytes only.
PIECES = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b": ", b":", b"Host", b"a b", b"\t", b" ", b"\0", b"\x7f", b"\xc3\xbc", b"\xfc", b"(", b"~"]
)
BLOCKS = st.lists(PIECES | st.binary(max_size=3), max_size=20).map(b"".join)
TEXT = st.text(st.characters(max_codepoint=0x30_000) | st.sampled_from("\r\n\t \0:\udc80\udcff\ud800"), max_size=8)
TOKENS = st.sampled_from(["Accept", "X-A", "a!#$%&'*+.^_`|~0", "", "a b", "ü", "a:"])


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result, or the error's class and text."""
    try:
        return function(*arguments)
    except (ValueError, TypeError) as error:
        return type(error), str(error)


@given(BLOCKS)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nB:\tc d \r\nC: \xfc\r\nD: \xc3\xbc")
def test_c_reads_as_python_does(block: bytes) -> None:
    expected = outcome(lines.read_lines_in_python, block)
    assert outcome(read_lines, block) == expected
    if native.read_lines is not None:
        assert native.read_lines(block) == (None if isinstance(expected[0], type) else expected)


@given(TEXT, st.lists(st.tuples(TOKENS, TEXT | st.binary(max_size=4)) | st.lists(TEXT, max_size=3), max_size=4))
@example("GET /\udc80 HTTP/1.1", [("Accept", " a\t"), ["B", "\udcff ü"]])
def test_c_writes_as_python_does(first: str, fields: list[Any]) -> None:
    expected = outcome(lines.write_lines_in_python, first, fields)
    assert outcome(write_lines, first, fields) == expected
    if native.write_lines is not None:
        assert native.write_lines(first, fields) == (expected if isinstance(expected, bytes) else None)


@given(st.lists(st.tuples(TOKENS.filter(str.isascii), TEXT), max_size=4))
def test_what_is_written_is_read_again(fields: list[tuple[str, str]]) -> None:
    try:
        block = write_lines("first", list(fields))
    except ValueError:
        return
    assert block.endswith(b"\r\n\r\n")
    first, found = read_lines(block[:-4])
    assert first == "first"
    assert [name for name, _ in found] == [name for name, _ in fields]


@pytest.mark.parametrize("arguments", [(), ("",), ("", ()), (b"", []), ("", [], 1)])
def test_the_writer_in_c_checks_its_arguments(arguments: tuple[object, ...]) -> None:
    if native.write_lines is not None:
        with pytest.raises(TypeError):
            native.write_lines(*arguments)  # type: ignore[arg-type, call-arg]


def test_the_reader_in_c_checks_its_argument() -> None:
    if native.read_lines is not None:
        with pytest.raises(TypeError):
            native.read_lines("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("byte", [*range(32), 127])
def test_every_control_but_htab_is_a_fault(byte: int) -> None:
    block = b"a: b" + bytes([byte]) + b"c"
    assert is_clean(block, 0) == (byte == 9)
    assert is_clean(b"x\r\n" + block, 1) == (byte == 9)
    found = outcome(read_lines, b"x\r\n" + block)
    assert (found == ("x", [["a", "b\tc"]])) == (byte == 9)


@pytest.mark.parametrize("block", [b"a\rb\nc", b"a\n\rb", b"\r\r\n\n", b"a\nb", b"a\rb", b"a\r\nb\r", b"\na\r"])
def test_only_crlf_ends_a_line(block: bytes) -> None:
    with pytest.raises(ValueError, match="bare CR or LF"):
        read_lines(block)


@pytest.mark.parametrize(
    ("line", "text"), [(b"ab", "colon"), (b"", "colon"), (b": b", "token"), (b"a : b", "token"), (b" a: b", "token")]
)
def test_a_field_is_a_token_and_a_value(line: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_lines(b"x\r\n" + line)


def test_lines_are_utf8_and_other_bytes_are_lone_surrogates() -> None:
    assert read_lines("ü\r\na: ü\r\nb: €".encode()) == ("ü", [["a", "ü"], ["b", "€"]])
    assert read_lines(b"\xfc\r\na: \xc3\xbc\r\nb: \xfc") == ("\udcfc", [["a", "ü"], ["b", "\udcfc"]])
    # Only CRLF ends a line, and no other line separator of Unicode.
    assert read_lines("\r\na: \u2028\x85".encode()) == ("", [["a", "\u2028\x85"]])


def test_bytes_that_were_no_utf8_are_written_as_they_were() -> None:
    assert write_lines("\udcfc", [("a", "\udcfc\t"), ("b", b" \xfc")]) == b"\xfc\r\na: \xfc\r\nb: \xfc\r\n\r\n"


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (("a", "b\nc"), "'a' has a control"),
        (("a", "\ud800"), "'a' has a lone surrogate"),
        (("a b", ""), "token"),
    ],
)
def test_a_field_that_cannot_be_written_is_named(pair: tuple[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        write_lines("x", [("z", ""), pair])


@pytest.mark.parametrize("pair", ["ab", ("a", 1), (1, "a"), {"a": 1, "b": 2}, None])
def test_a_field_is_a_pair_of_strings(pair: Any) -> None:
    with pytest.raises(TypeError):
        write_lines("x", [pair])


# --- the lines that something is read from ----------------------------------------------------------

BLOCK = b"Host: a\r\nX-Mine:b\r\ncOOkie:\t c=1 \r\nX-Pagent-A: \r\nX-Pagent_b: 2\r\n"
WATCHED = watch(
    {"host": 1, "cookie": 2 | LEFT_OUT, "via": LEFT_OUT},
    lambda name: 3 | LEFT_OUT if name.lower().startswith(("x-pagent-", "x-pagent_")) else 0,
    ["x-pagent-*"],
)


def test_watched_lines_are_found_in_any_case() -> None:
    found = [(1, "Host", "a"), (2, "cOOkie", "c=1"), (3, "X-Pagent-A", ""), (3, "X-Pagent_b", "2")]
    assert scan(BLOCK, False, WATCHED) == ("", 5, b"Host: a\r\nX-Mine:b\r\n", found)
    assert scan(b"GET /\r\n" + BLOCK[:-2], True, WATCHED) == ("GET /", 5, b"Host: a\r\nX-Mine:b\r\n", found)
    assert scan(b"Accept: a\r\nVIA: b\r\nHost2: b\r\n", False, WATCHED) == ("", 3, b"Accept: a\r\nHost2: b\r\n", [])
    assert scan(b"", False, WATCHED) == ("", 0, b"", [])
    assert scan(b"GET /", True, WATCHED) == ("GET /", 0, b"", [])


@pytest.mark.parametrize("block", [BLOCK, BLOCK[9:], b"A: b\r\n", b"cookie: a\r\nA: b\r\nCookie: a\r\n", b"via: a\r\n"])
def test_lines_that_are_kept_are_unchanged(block: bytes) -> None:
    lines = [line + b"\r\n" for line in block.split(b"\r\n")[:-1]]
    left = [line for line in lines if not line.lower().startswith((b"cookie", b"via", b"x-pagent"))]
    assert scan(block, False, WATCHED)[2] == b"".join(left)


def test_lines_and_pairs() -> None:
    assert pairs_of(BLOCK[:19]) == [["Host", "a"], ["X-Mine", "b"]]
    assert pairs_of("a: \u00e4\r\n".encode() + b"b: \xe4\r\n") == [["a", "\u00e4"], ["b", "\udce4"]]
    assert lines_of([["A", "b"], ("c", "\udce4")]) == b"A: b\r\nc: \xe4\r\n"
    assert pairs_of(b"") == []
    assert lines_of([]) == b""


@pytest.mark.parametrize(
    "pair", [("a", "b\r\nc: d"), ("a\r\nb", "c"), ("a", "b\n"), ("", "a"), ("a b", "c"), ("a", "\x00"), ("a", "\ud800")]
)
def test_no_field_begins_another_line(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"token|control|surrogate"):
        lines_of([("x", "y"), pair])


@pytest.mark.parametrize(
    "line",
    [
        b"a", b":", b": b\r\n", b"a b: c\r\n", b"a : b\r\n", b" a: b\r\n", b"a: b", b"a: b\r", b"a: b\n", b"a: b\r\r\n",
        b"a: \x00\r\n", b"a: \x7f\r\n", b"a: b\rc\r\n", b"a: b\nc\r\n", b"\r\n", b"a: b\r\n\r\n", b"\xe4: b\r\n",
    ],
)  # fmt: skip
def test_lines_with_a_fault(line: bytes) -> None:
    for scanning in (scan, scan_in_python):
        with pytest.raises(ValueError, match=r"line|control|colon|token"):
            scanning(b"x: y\r\n" + line, False, WATCHED)


@given(
    st.lists(
        st.sampled_from([b"\r\n", b"a: b\r\n", b"host:", b"Cookie: c\r\n", b"VIA:", b"x-pagent-a:1\r\n"])
        | st.sampled_from([bytes([byte]) for byte in b'\r\n:\t \x00\x01\x7f\x80\xffaHhostCOOKIEx-_0"(,']),
        max_size=20,
    ),
    st.booleans(),
)
def test_c_scans_as_python_does(pieces: list[bytes], has_start: bool) -> None:
    block = b"".join(pieces)
    expected = outcome(scan_in_python, block, has_start, WATCHED)
    assert outcome(scan, block, has_start, WATCHED) == expected
    if native.scan is not None:
        assert native.scan(block, has_start, WATCHED) == (None if isinstance(expected[0], type) else expected)
    if not isinstance(expected[0], type):
        # The lines that are kept as another reader has them.
        left_out = re.compile("(cookie|via|x-pagent[-_].*)", re.IGNORECASE | re.ASCII).fullmatch
        pairs = read_lines(block if has_start else b"\r\n" + block[:-2])[1] if block else []
        assert pairs_of(expected[2]) == [pair for pair in pairs if left_out(pair[0]) is None]


@pytest.mark.parametrize(
    "arguments", [(), (b"",), ("", True, WATCHED), (b"", 1, WATCHED), (b"", True, (b"", {}, None)), (b"", True, ())]
)
def test_the_scanner_in_c_checks_its_arguments(arguments: tuple[Any, ...]) -> None:
    if native.scan is not None:
        with pytest.raises(TypeError):
            native.scan(*arguments)


def test_an_error_of_the_function_for_other_names_is_raised() -> None:
    def fail(name: str) -> int:
        raise LookupError(name)

    watched = watch({}, fail, ["abc"])
    for scanning in (scan, scan_in_python, native.scan or scan):
        with pytest.raises(LookupError, match="ABC"):
            scanning(b"ABC: d\r\n", False, watched)


@given(BLOCKS, st.integers(0, 12))
@example(b"a\r\n\r\n", 0)
@example(b"\r\r\n\r\n\r\n", 2)
def test_a_blank_line_is_found_in_c_as_in_python(data: bytes, at: int) -> None:
    assert section.find_blank_line(data, at) == section.find_in_python(data, at) == data.find(b"\r\n\r\n", at)


@pytest.mark.parametrize("arguments", [(), (b"",), ("", 0), (b"", ""), (b"", 0, 1)])
def test_the_search_in_c_checks_its_arguments(arguments: tuple[object, ...]) -> None:
    if native.find_blank_line is not None:
        with pytest.raises(TypeError):
            native.find_blank_line(*arguments)  # type: ignore[arg-type, call-arg]


@given(
    st.binary(max_size=40),
    st.sampled_from([b"\t", b"\x1f", b" ", b"~", b"\x7f", b"\x80", b"\xff", b"\0"]),
    st.binary(max_size=40),
)
def test_a_control_is_found_at_every_place_of_a_value(before: bytes, byte: bytes, after: bytes) -> None:
    block = b"a:" + before + byte + after + b"\r\n"
    expected = outcome(scan_in_python, block, False, watch({"a": 1}))
    assert outcome(scan, block, False, watch({"a": 1})) == expected
