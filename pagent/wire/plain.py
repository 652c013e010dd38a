"""Convert values of msgpack to values that JSON has."""

from __future__ import annotations

from typing import Any

from pagent.limits import INFO_DEPTH_MAX


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` in types of JSON: bytes become hex, keys strings, values below ``INFO_DEPTH_MAX`` None."""
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
