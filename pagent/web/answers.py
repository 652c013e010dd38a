"""Answers in JSON, and the conversion of peers' values to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pagent.wire.plain import plain


def json_answer(value: Any, *, headers: Mapping[str, str] | None = None, status: int = 200) -> web.Response:
    """Return an answer with a value as JSON, whatever a peer has put into it."""
    return _answer(packed(value), headers, status)


def plain_answer(value: Any) -> web.Response:
    """Return an answer with a value that JSON can say."""
    return _answer(orjson.dumps(value), None, 200)


def _answer(body: bytes, headers: Mapping[str, str] | None, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8", headers=headers)


def empty_answer() -> web.Response:
    """Return an answer without a body, with the type that the original router gives it."""
    return web.Response(body=b"", content_type="application/octet-stream")


def packed(value: Any) -> bytes:
    """Return a value as JSON, whatever a peer has put into it."""
    return orjson.dumps(plain(value))
