"""The value of ``--since``."""

from __future__ import annotations

import pytest

from pagent.cli.jobs.since import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", -600.0), ("2h30m", -9000.0), ("1.5s", -1.5), ("500ms", -0.5), ("1d", -86_400.0), ("0s", -0.001),
        ("1700000000", 1_700_000_000.0), ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000.5), ("1960-01-01T00:00:00Z", 0.0),
        ("", None), ("10", 10.0), ("m", None), ("-5m", None), ("10 m", None), ("yesterday", None), ("5m x", None),
        ("9" * 400 + "h", -0.001),
    ],
)  # fmt: skip
def test_spans_and_times(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == (seconds if seconds is None else pytest.approx(seconds))
