"""The text form of log lines."""

from __future__ import annotations

import pytest

from pagent import log


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ключ 'x' \\n", "plain ключ 'x' \\n"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("\x1b[2J\x07\x7f\x9b", r"\x1b[2J\x07\x7f\x9b"),
        ("\u2028\u2029\u202e\u2066\ufeff", r"\u2028\u2029\u202e\u2066\ufeff"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert log.escape(text) == expected
