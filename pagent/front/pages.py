"""The page that a browser gets for an error: its heading says the state of the job.

It has no script. With 503 it loads again by itself. Everything in it that comes from a request or an agent is escaped.
"""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import Final

from pagent.job_states import CLOSED, FINISHED, NEW, PENDING, UNREACHABLE

_BAD_GATEWAY: Final = 502
_SERVICE_UNAVAILABLE: Final = 503
_RETRY_S: Final = 2

#: States of a job, as :meth:`pagent.rpc.directory.Directory.state_of` returns them: the heading of a 502 and of a 503.
_OF_STATE: Final = {
    (_SERVICE_UNAVAILABLE, NEW): "This program is starting",
    (_SERVICE_UNAVAILABLE, PENDING): "This program is starting",
    (_SERVICE_UNAVAILABLE, UNREACHABLE): "The computer of this program is not connected now",
    (_BAD_GATEWAY, NEW): "This program was not started yet",
    (_BAD_GATEWAY, FINISHED): "This program has ended",
    (_BAD_GATEWAY, CLOSED): "This program has ended",
}
#: Otherwise, by status.
_HEADINGS: Final = {
    401: "You have to open this program from its link",
    403: "You may not open this page",
    404: "There is no such program, or it has been removed",
    429: "Too many requests",
    _BAD_GATEWAY: "This program does not answer",
    _SERVICE_UNAVAILABLE: "This program cannot be reached now",
}
_RELOADS: Final = "This page loads again by itself."

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{refresh}
<title>{heading}</title>
<style>body{{font:1em/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em;color:#222;background:#fff}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#222}}}}pre{{white-space:pre-wrap}}</style></head>
<body><h1>{heading}</h1><p>{hint}</p><pre>{text}</pre><p><small>{status} {phrase} {number}</small></p></body></html>
"""
_REFRESH: Final = '\n<meta http-equiv="refresh" content="{seconds}">'

#: The page loads no resources and runs no scripts.
FIELDS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("X-Content-Type-Options", "nosniff"),
)


def error_page(status: int, text: str, number: str, *, state: str | None, retry_s: int | None, reload: bool) -> str:
    """Return the page. ``number``: the id of the request; ``reload``: whether it may be requested again."""
    reloads = reload and status == _SERVICE_UNAVAILABLE
    return _PAGE.format(
        refresh=_REFRESH.format(seconds=retry_s or _RETRY_S) if reloads else "",
        heading=html.escape(_OF_STATE.get((status, state or "")) or _HEADINGS.get(status) or _phrase(status)),
        hint=_RELOADS if reloads else "",
        text=html.escape(text),
        status=status,
        phrase=_phrase(status),
        number=html.escape(number),
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
