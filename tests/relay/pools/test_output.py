"""The last output of a command, however it is cut into pieces."""

from __future__ import annotations

import pytest

from pagent.access.signed import SigningKeys
from pagent.relay.pools.output import TAIL_BYTES, OutputTail

LINES = b"srun: job 7 queued\npagent: joining\n\n"


@pytest.mark.parametrize("at", range(len(LINES)))
def test_lines_in_pieces(at: int) -> None:
    output = OutputTail()
    output.add("stdout", LINES[:at])
    output.add("stderr", b"other")  # the unfinished line of another stream
    output.add("stdout", LINES[at:])
    assert output.is_joining
    assert output.last_line == "pagent: joining"


def test_the_last_lines() -> None:
    output = OutputTail()
    assert output.last_lines == ()
    output.add("stdout", b"".join(b"line %d\n \n" % number for number in range(30)))
    output.add("stderr", b"\x1b[31mno end")
    assert output.last_lines == (*(f"line {number}" for number in range(21, 30)), "no end")
    output.add("stdout", b"x" * 100_000)
    assert len("".join(output.last_lines)) == TAIL_BYTES


def test_the_end_is_kept() -> None:
    output = OutputTail()
    output.add("stdout", b"x" * TAIL_BYTES + b"end\xff\n")
    assert output.text == "x" * (TAIL_BYTES - 5) + "end\N{REPLACEMENT CHARACTER}"
    assert not output.is_joining


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x1b[31mred\x1b[0m\x00 end\n", "red end"),
        (b"\x1b]0;title\x07named\n", "named"),
        (b"waits 1\rwaits 2\r", "waits 2"),
        (b"one\r\n\r\n", "one"),
        (b"x" * 10_000_000 + b"\nlast\n", "last"),
        (b"-" * 60 + b"\n", "-" * 60),
        (b"\xff\xfe\n", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_the_line_for_people(data: bytes, line: str) -> None:
    output = OutputTail()
    output.add("stdout", data)
    assert output.last_line == line


@pytest.mark.parametrize("before", [0, TAIL_BYTES - 60])
def test_a_token_is_left_out(before: int) -> None:
    """Also one whose beginning is not kept any more."""
    token = SigningKeys([b"key"]).sign("pool join", b"content" * 10)
    output = OutputTail()
    output.add("stderr", b'{"token": "' + token.encode() + b'"} ' + b". " * (before // 2) + b"\n")
    assert "***" in output.text
    assert not any(part in output.text + output.last_line for part in (token[-43:], token[-60:-20]))


def test_the_line_of_an_agent_may_have_a_prefix() -> None:
    output = OutputTail()
    output.add("stdout", b"said: pagent: joining now\n")
    assert not output.is_joining
    output.add("stdout", b"0: pagent: joining\r\n")
    assert output.is_joining
