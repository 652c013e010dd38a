"""Answers in JSON, and how what peers said becomes JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pagent.limits import INFO_DEPTH_MAX


def json_answer(value: Any, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer with a value as JSON."""
    return web.Response(body=packed(value), content_type="application/json", charset="utf-8", headers=headers)


def empty_answer() -> web.Response:
    """Return an answer without a body, with the type that the original router gives it."""
    return web.Response(body=b"", content_type="application/octet-stream")


def packed(value: Any) -> bytes:
    """Return a value as JSON, whatever a peer has put into it."""
    return orjson.dumps(_plain(value))


def _plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as JSON can say it.

    A peer's data is msgpack: bytes become hex, keys strings; what is nested too deeply is left out.
    """
    if depth > INFO_DEPTH_MAX:
        return None
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {str(_plain(key, depth + 1)): _plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, depth + 1) for item in value]
        case str() | int() | float() | None:
            return value
    return str(value)
