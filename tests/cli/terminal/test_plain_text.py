from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.terminal.plain_text import PlainText

COLOURED = b"a \x1b[36mhttp://localhost:\x1b[1m5173\x1b[22m/\x1b[39m b\x1b[2Kc \x1b]0;title\x07d \x1b(Be"
PLAIN = b"a http://localhost:5173/ b c  d  e"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"plain", b"plain"),
        (COLOURED, PLAIN),
        (b"\x1b]8;;http://localhost:1/\x1b\\Local\x1b]8;;\x1b\\", b" http://localhost:1/ Local  "),
        (b"\x1b[38:2::1:2:3mword\x1b[m", b"word"),
        (b"\x1bPq\x1b\\end", b" end"),
        (b"\x1b=\x1b>\x1b7", b"   "),
    ],
)
def test_sequences_are_removed(output: bytes, text: bytes) -> None:
    assert PlainText().feed(output) == text


def test_every_split_gives_the_same_text() -> None:
    for cut in range(len(COLOURED) + 1):
        plain = PlainText()
        assert plain.feed(COLOURED[:cut]) + plain.feed(COLOURED[cut:]) == PLAIN
    plain = PlainText()
    assert b"".join(plain.feed(bytes([byte])) for byte in COLOURED) == PLAIN


@given(st.lists(st.binary(max_size=20)))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    plain = PlainText()
    assert len(b"".join(plain.feed(piece) for piece in pieces)) <= len(b"".join(pieces)) + 2


def test_a_sequence_without_an_end_is_not_kept_for_ever() -> None:
    plain = PlainText()
    assert plain.feed(b"\x1b]" + b"x" * 10_000) == b""
    assert plain.feed(b"word ") == b"word "
