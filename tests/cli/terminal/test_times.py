"""Spans of time, and the form of a clock."""

from __future__ import annotations

import pytest

from pagent.cli.terminal.times import clock, parse_span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5), ("2h30m", 9000), ("1.5m", 90), ("500ms", 0.5), ("1w", 604_800), ("0s", 0),
        ("", None), ("5", None), ("m", None), ("-5m", None), ("5 m", None), ("5y", None),
    ],
)  # fmt: skip
def test_spans(text: str, seconds: float | None) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (67.4, "1:07"), (3723, "1:02:03"), (float("inf"), "99:00:00")]
)
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
