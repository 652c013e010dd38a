"""Answers on their way to a client: heads of a job's answers, and the router's own errors (docs/router.rst, "Errors").

An error is one line of text, or a small page for a browser. A 502 has the text that callers of the original router
know.
"""

from __future__ import annotations

import html
import http
from typing import Final

from pagent.errors import RedirectError, RequestRefusedError
from pagent.http1.cookies import SET_COOKIE, sets_own
from pagent.http1.incoming import IncomingHead
from pagent.http1.scan import Place, lines_of, name_of, scan, value_of, watch, without

Fields = list[list[str]]

_BAD_GATEWAY: Final = 502
_SERVICE_UNAVAILABLE: Final = 503
_UNAUTHORIZED: Final = 401
_RETRY_S: Final = 2

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
#: The start of an answer's head. The reason phrase of a job does not cross a link, so it is the usual one.
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)
}
_CONTENT_LENGTH: Final = "content-length"
_WATCHED: Final = watch((_CONTENT_LENGTH, SET_COOKIE))

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{refresh}
<title>{status} {phrase}</title>
<style>body{{font:1em/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#222;background:#fff}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#222}}}}pre{{white-space:pre-wrap}}</style></head>
<body><h1>{status} {phrase}</h1><pre>{text}</pre><p>{hint}</p></body></html>
"""
_REFRESH: Final = '\n<meta http-equiv="refresh" content="{seconds}">'
_HINTS: Final = {
    _BAD_GATEWAY: "The job gave no usable answer.",
    _SERVICE_UNAVAILABLE: "The job is not there yet. This page loads again by itself.",
}


def encode_head(status: int, *lines: bytes) -> bytes:
    """Return the head of an answer of these lines, which are valid."""
    return b"".join((_STATUS_LINES[status], *lines, b"\r\n"))


def read_lines(lines: bytes) -> tuple[int | None, bytes]:
    """Return the Content-Length of an answer, and its lines less those that set one of the router's own cookies.

    ValueError if a line is not valid.
    """
    length: int | None = None
    dropped: list[Place] = []
    for place in scan(lines, 0, _WATCHED)[1]:
        name = name_of(lines, place)
        if name == _CONTENT_LENGTH:
            length = _length(value_of(lines, place))
        elif name == SET_COOKIE and sets_own(value_of(lines, place)):
            dropped.append(place)
    return length, without(lines, 0, dropped) if dropped else lines


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("the answer's Content-Length is not a number")
    return int(value)


def encode_interim(status: int, lines: bytes) -> bytes:
    """Return an interim answer, or the head of a 101; ValueError as above."""
    return encode_head(status, read_lines(lines)[1])


def error_answer(error: RequestRefusedError, head: IncomingHead | None, request_id: str, *, keep: bool) -> bytes:
    """Return the whole answer that says ``error``; ``head``: the request's, None if there is no valid one."""
    status, text = error.status, " ".join(str(error).split())
    if status == _BAD_GATEWAY:
        text = proxy_error(text)
    is_page = head is not None and "text/html" in head.value("accept").lower()
    body = (_page(status, text, error.retry_after_s) if is_page else text).encode("utf-8", "replace")
    fields = [
        ("Content-Type", f"{'text/html' if is_page else 'text/plain'}; charset=utf-8"),
        ("Cache-Control", "no-store, must-revalidate"),
        ("Expires", "0"),
        ("Content-Length", str(len(body))),
    ]
    if isinstance(error, RedirectError):
        fields.append(("Location", error.location))
    if error.retry_after_s is not None:
        fields.append(("Retry-After", str(error.retry_after_s)))
    if status == _UNAUTHORIZED:
        fields.append(("WWW-Authenticate", "Bearer"))
    if request_id:
        fields.append(("X-Request-Id", request_id))
    if not keep:
        fields.append(("Connection", "close"))
    elif head is not None and head.minor == 0:
        fields.append(("Connection", "keep-alive"))
    answer = encode_head(status, lines_of(fields))
    return answer if head is not None and head.method == "HEAD" else answer + body


def proxy_error(text: str, kind: str = "RpcMethodError") -> str:
    """Return the text of a 502 in the form of the original router, without its traceback."""
    return f"Proxy error:\n{'-' * 40}\nError type: {kind}\n\nError message: {text}\n"


def _page(status: int, text: str, retry_s: int | None) -> str:
    refresh = ""
    if status == _SERVICE_UNAVAILABLE:
        refresh = _REFRESH.format(seconds=retry_s or _RETRY_S)
    return _PAGE.format(
        status=status,
        phrase=_PHRASES.get(status, ""),
        text=html.escape(text),
        refresh=refresh,
        hint=_HINTS.get(status, ""),
    )
