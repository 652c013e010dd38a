"""Lines of heads and trailers: read and written, in Python and in C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagent.http1 import lines, native
from pagent.http1.lines import is_clean, read_lines, write_lines

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
    # Only CRLF ends a line, whatever else Unicode has for that.
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
