"""Values of msgpack as JSON can say them."""

from __future__ import annotations

from typing import Any

from pagent.limits import INFO_DEPTH_MAX


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as JSON can say it: bytes become hex, keys strings; what is nested too deeply is left out."""
    if depth > INFO_DEPTH_MAX:
        return None
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {str(plain(key, depth + 1)): plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, depth + 1) for item in value]
        case str() | int() | float() | None:
            return value
    return str(value)
