"""Pages of long lists: ``?limit=`` entries after the cursor ``after``; ``next`` of the answer is the next cursor."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Final

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.router_limits import PAGE_MAX

_DEFAULT: Final = 100


def page_limit(request: web.Request) -> int:
    """Return how many entries a page may have. RequestRefusedError 400."""
    given = request.query.get("limit", str(_DEFAULT))
    if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= PAGE_MAX):
        raise RequestRefusedError(400, f"limit must be a number from 1 to {PAGE_MAX}")
    return int(given)


def cursor_of(age: tuple[float, str]) -> str:
    """Return the cursor that stands for a place in a list that is ordered by age. Clients do not look into it."""
    return base64.urlsafe_b64encode(f"{age[0].hex()} {age[1]}".encode()).decode().rstrip("=")


def age_of(cursor: str | None) -> tuple[float, str] | None:
    """Return the place of a cursor; None without one. RequestRefusedError 400 if it is none of :func:`cursor_of`."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        number, space, uid = text.partition(" ")
        created_at = float.fromhex(number)
    except (ValueError, binascii.Error, OverflowError):
        raise RequestRefusedError(400, "after is not a cursor of this list") from None
    if not space or not math.isfinite(created_at):
        raise RequestRefusedError(400, "after is not a cursor of this list")
    return created_at, uid
