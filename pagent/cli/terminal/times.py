"""Times: ages, spans and local time for people, RFC 3339 for programs."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final

from pagent.rfc3339 import utc_text

_UNITS: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
#: The units in which an age is printed.
_PRINTED: Final = ("d", "h", "m", "s")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SPAN: Final = re.compile(rf"(?:{_PART.pattern})+")
_MINUTE: Final = 60
_HOUR: Final = 3_600
#: The largest time that a clock with two digits for the hours can show.
_CLOCK_MAX_S: Final = 99 * _HOUR
#: A number of a larger unit is printed up to its double in the smaller unit: 119s, then 2m.
_DOUBLE: Final = 2


def span(seconds: float) -> str:
    """Return a length of time in its largest suitable unit: ``5s``, ``90s``, ``3h``, ``12d``."""
    whole = max(0, int(seconds))
    for unit in _PRINTED:
        if whole >= _DOUBLE * _UNITS[unit]:
            return f"{int(whole // _UNITS[unit])}{unit}"
    return f"{whole}s"


def parse_span(text: str) -> float | None:
    """Return the seconds of a span such as ``90d`` or ``2h30m``; None if the text is none."""
    if _SPAN.fullmatch(text) is None:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def clock(seconds: float) -> str:
    """Return a length of time as a clock has it: ``0:07``, ``1:02:03``."""
    hours, rest = divmod(round(min(seconds, _CLOCK_MAX_S)), _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(since: float | None) -> str:
    """Return the time since then, ``-`` without one."""
    return "-" if since is None else span(time.time() - since)


def local_time(seconds: float) -> str:
    """Return a time in the time zone of this machine, with its age."""
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S %Z} ({age(seconds)} ago)"


def for_programs(value: Any) -> Any:
    """Return an answer of an agent as JSON can hold it: keys that end with ``_at`` in RFC 3339, bytes as text."""
    if isinstance(value, dict):
        return {str(key): utc_text(item) if _is_time(key, item) else for_programs(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_programs(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else value


def _is_time(key: Any, value: Any) -> bool:
    return str(key).endswith(("_at", "deadline")) and type(value) in (int, float)
