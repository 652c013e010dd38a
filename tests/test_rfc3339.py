"""Times as text for programs."""

from __future__ import annotations

import pytest

from pagent.rfc3339 import utc_text


@pytest.mark.parametrize(
    ("seconds", "timespec", "text"),
    [
        (0.0, "milliseconds", "1970-01-01T00:00:00.000Z"),
        (1_924_991_999.25, "milliseconds", "2030-12-31T23:59:59.250Z"),
        (1_924_991_999, "auto", "2030-12-31T23:59:59Z"),
        (1_924_991_999.9, "seconds", "2030-12-31T23:59:59Z"),
    ],
)
def test_a_time_is_in_utc(seconds: float, timespec: str, text: str) -> None:
    assert utc_text(seconds, timespec) == text


@pytest.mark.parametrize("seconds", [1e18, float("inf"), float("nan")])
def test_a_time_that_is_in_no_calendar(seconds: float) -> None:
    with pytest.raises((ValueError, OverflowError, OSError)):
        utc_text(seconds)
