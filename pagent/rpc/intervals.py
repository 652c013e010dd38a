"""The argument ``interval`` of calls that send changes again and again."""

from __future__ import annotations

from pagent.limits import RUN_TIMEOUT_MAX_S


def checked_interval(value: object, least_s: float) -> float:
    """Return an interval as a caller gave it, in seconds. ValueError if it is none, or below the least."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least_s <= value <= RUN_TIMEOUT_MAX_S:
        raise ValueError(f"interval must be a number of seconds from {least_s:g} to {RUN_TIMEOUT_MAX_S:.0f}")
    return float(value)
