"""Convert values from agents to the types that openapi.json promises. A value of another type counts as not known.

An agent may be hostile, and must not break the clients of the API.
"""

from __future__ import annotations

import math
from typing import Any


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def integer(value: Any) -> int | None:
    return value if type(value) is int else None


def number(value: Any) -> float | None:
    return value if type(value) in (int, float) and math.isfinite(value) else None


def integers(value: Any) -> list[int] | None:
    """Return a list if all of it are integers."""
    return value if isinstance(value, list) and all(type(each) is int for each in value) else None


def texts(value: Any) -> list[str] | None:
    """Return a list if all of it are texts."""
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
