"""Read the parameters of a query that has no others (:mod:`pagent.web.v1.document`). RequestRefusedError 400."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from aiohttp import web

from pagent.errors import RequestRefusedError

_DIGITS_MAX: Final = 18


def flag(request: web.Request, name: str, *, empty: bool = False) -> bool:
    """Return a parameter that is 0 or 1; ``empty``: it may stand without a value, for 1."""
    value = request.query.get(name, "0")
    if empty and not value:
        return True
    if value not in ("0", "1"):
        raise RequestRefusedError(400, f"{name} must be 0 or 1")
    return value == "1"


def number(request: web.Request, name: str, default: int) -> int:
    """Return a parameter that is a number, 0 or more."""
    value = request.query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX):
        raise RequestRefusedError(400, f"{name} must be a number, 0 or more")
    return int(value)


def moment(request: web.Request, name: str) -> float | None:
    """Return a parameter that is a time of RFC 3339, in seconds since the epoch; None without it."""
    value = request.query.get(name)
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is not None:
            return max(0.0, time.timestamp())
    except (ValueError, OverflowError):
        pass
    raise RequestRefusedError(400, f"{name} must be a time as 2030-12-31T23:59:59Z")


def one_of(request: web.Request, name: str, values: Collection[str], default: str) -> str:
    """Return a parameter that is one of several words."""
    value = request.query.get(name, default)
    if value not in values:
        raise RequestRefusedError(400, f"{name} must be one of {', '.join(values)}")
    return value
