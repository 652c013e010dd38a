"""Times as text for programs (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(seconds: float, timespec: str = "milliseconds") -> str:
    """Return a time in UTC, ``2030-12-31T23:59:59.000Z``.

    ``seconds``: since the epoch. ``timespec``: as of ``datetime.isoformat``. ValueError, OverflowError or OSError for a
    time that is in no calendar.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
