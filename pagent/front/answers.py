"""Answers on their way to a client: heads of a job's answers, and the router's own errors (docs/router.rst, "Errors").

An error is one line of text, or the page of :mod:`pagent.front.pages` for a browser. A 502 has the text that callers of
the original router know.
"""

from __future__ import annotations

import http
from typing import Final

from pagent.errors import RedirectError, RequestRefusedError
from pagent.front.pages import FIELDS, error_page
from pagent.http1.cookies import SET_COOKIE, sets_own
from pagent.http1.fields import UNPASSED
from pagent.http1.incoming import IncomingHead
from pagent.http1.lines import LEFT_OUT, lines_of, pairs_of, scan, watch

Fields = list[list[str]]

_BAD_GATEWAY: Final = 502
_UNAUTHORIZED: Final = 401

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
#: The start of an answer's head. The reason phrase of a job does not cross a link, so it is the usual one.
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)
}
_CONTENT_LENGTH: Final = 1
_SET_COOKIE: Final = 2
#: Left out, whatever an agent has sent: the router itself writes the fields of its own hop, and so the framing.
_OF_ONE_HOP: Final = dict.fromkeys((*UNPASSED, "transfer-encoding"), LEFT_OUT)
_WATCHED: Final = watch(
    {"content-length": _CONTENT_LENGTH, SET_COOKIE: _SET_COOKIE, "connection": LEFT_OUT, **_OF_ONE_HOP}
)
#: An interim answer has no body, so it has no length (RFC 9110 8.6). A 101 has Connection.
_WATCHED_INTERIM: Final = watch({"content-length": LEFT_OUT, SET_COOKIE: _SET_COOKIE, **_OF_ONE_HOP})


def encode_head(status: int, *lines: bytes) -> bytes:
    """Return the head of an answer of these lines, which are valid."""
    return b"".join((_STATUS_LINES[status], *lines, b"\r\n"))


def read_lines(lines: bytes) -> tuple[int | None, bytes]:
    """Return the Content-Length of a final answer, and the lines that the client gets.

    Fields of one hop, and cookies of the router's own names, are left out.

    :raises ValueError: a line is not valid, or there are two lengths (RFC 9112 6.3).
    """
    _, _, kept, found = scan(lines, False, _WATCHED)
    length: int | None = None
    for kind, _, value in found:
        if kind == _SET_COOKIE:
            kept = _without_own(kept, value)
        elif length is not None:
            raise ValueError("the answer has two Content-Length fields")
        else:
            length = _length(value)
    return length, kept


def _without_own(lines: bytes, cookie: str) -> bytes:
    """Return the lines without the cookies of the router's own names, if ``cookie`` is one of them."""
    return lines_of([pair for pair in pairs_of(lines) if not _sets_own(pair)]) if sets_own(cookie) else lines


def _sets_own(pair: list[str]) -> bool:
    return pair[0].lower() == SET_COOKIE and sets_own(pair[1])


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("the answer's Content-Length is not a number")
    return int(value)


def encode_interim(status: int, lines: bytes) -> bytes:
    """Return an interim answer, or the head of a 101. ValueError if a line is not valid."""
    _, _, kept, found = scan(lines, False, _WATCHED_INTERIM)
    for _, _, value in found:
        kept = _without_own(kept, value)
    return encode_head(status, kept)


def takes_page(head: IncomingHead | None) -> bool:
    """Return whether a request, of which this is the valid head, is one of a browser that wants a page."""
    return head is not None and "text/html" in head.value("accept").lower()


def error_answer(
    error: RequestRefusedError, head: IncomingHead | None, request_id: str, *, keep: bool, state: str | None = None
) -> bytes:
    """Return the whole answer that says ``error``; ``head``: the request's, None if there is no valid one.

    ``state``: that of the job, for the page.
    """
    status, text = error.status, " ".join(str(error).split())
    if status == _BAD_GATEWAY:
        text = proxy_error(text)
    is_page = takes_page(head)
    if is_page:
        reload = head is not None and head.method == "GET"
        text = error_page(status, text, request_id, state=state, retry_s=error.retry_after_s, reload=reload)
    body = text.encode("utf-8", "replace")
    fields = [
        ("Content-Type", f"{'text/html' if is_page else 'text/plain'}; charset=utf-8"),
        ("Cache-Control", "no-store, must-revalidate"),
        ("Expires", "0"),
        ("Content-Length", str(len(body))),
        *(FIELDS if is_page else ()),
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
