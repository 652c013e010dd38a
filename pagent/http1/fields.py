"""Common to request and response heads: the kinds of fields.

The hot paths look a name up in :data:`ORDINARY`; only other names need :func:`kind_of` or :func:`kind_of_token`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from pagent.errors import PagentError
from pagent.limits import BODY_LENGTH_MAX, CONNECTION_FIELD_MAX, LENGTH_LIST_MAX


class Framing(Enum):
    """How the end of a body is determined (RFC 9112 section 6)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"  # responses only
    UNDECIDED = "undecided"  # requests only: the caller's first body message will show whether there is a body


class BadResponse(PagentError):
    """The job's response is malformed, ambiguous, oversized or cut short. Its connection has to be dropped."""


# Kinds of fields. Plain numbers: access to a member of an Enum costs three times as much.
END_TO_END: Final = 0
HOP_BY_HOP: Final = 1
CONNECTION: Final = 2
TRANSFER_ENCODING: Final = 3
CONTENT_LENGTH: Final = 4
CONTENT_ENCODING: Final = 5
HOST: Final = 6
ACCEPT_ENCODING: Final = 7
#: Hop-by-hop, but a ``raw`` caller may send and receive them.
TE: Final = 8
TRAILER: Final = 9
EXPECT: Final = 10
UPGRADE: Final = 11
#: May hold an address that only means something on this host.
REFERENCE: Final = 12

_SPECIAL: Final = {
    "connection": CONNECTION,
    "transfer-encoding": TRANSFER_ENCODING,
    "content-length": CONTENT_LENGTH,
    "content-encoding": CONTENT_ENCODING,
    "host": HOST,
    "accept-encoding": ACCEPT_ENCODING,
    # RFC 9110 7.6.1, and the credentials and challenges of a proxy (11.7), which the job is not.
    "keep-alive": HOP_BY_HOP,
    "proxy-connection": HOP_BY_HOP,
    "proxy-authenticate": HOP_BY_HOP,
    "proxy-authorization": HOP_BY_HOP,
    "te": TE,
    "trailer": TRAILER,
    "upgrade": UPGRADE,
    "expect": EXPECT,
    "location": REFERENCE,
    "content-location": REFERENCE,
    "refresh": REFERENCE,
}

_COMMON: Final = """
    Accept Accept-CH Accept-Charset Accept-Language Accept-Patch Accept-Ranges Age Allow Alt-Svc Authorization
    Cache-Control Content-Disposition Content-Language Content-Range Content-Security-Policy
    Content-Type Cookie Date DNT ETag Expires Forwarded From If-Match If-Modified-Since If-None-Match If-Range
    If-Unmodified-Since Last-Modified Link Max-Forwards Origin Permissions-Policy Pragma Priority Range
    Referer Referrer-Policy Retry-After Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest
    Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC Server Server-Timing Set-Cookie Strict-Transport-Security
    Timing-Allow-Origin Traceparent Tracestate Upgrade-Insecure-Requests User-Agent Vary Via Warning WWW-Authenticate
    Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods
    Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers
    Access-Control-Request-Method Cross-Origin-Embedder-Policy Cross-Origin-Opener-Policy Cross-Origin-Resource-Policy
    X-Content-Type-Options X-CSRF-Token X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix
    X-Forwarded-Proto X-Frame-Options X-Powered-By X-Real-IP X-Request-ID X-Requested-With X-XSRFToken X-XSS-Protection
"""

#: Fields of one hop that nothing is read from: a proxy drops them.
UNPASSED: Final = frozenset(name for name, kind in _SPECIAL.items() if kind == HOP_BY_HOP)

#: Names of well-known fields in their usual spelling.
COMMON_NAMES: Final = _COMMON.split()

#: The usual spellings of end-to-end fields.
ORDINARY: Final = frozenset([name for common in COMMON_NAMES for name in (common, common.lower(), common.title())])

#: The usual spellings of all other known fields, with their kind.
SPECIAL: Final[dict[str, int]] = {spelt: kind for name, kind in _SPECIAL.items() for spelt in (name, name.title())}

#: Fields that a Connection field cannot remove. RFC 9110 7.6.1 forbids it to name a field that is meant for all
#: recipients. Otherwise a client could strip the Host, the length, or the X-Forwarded-For that a proxy added.
_KNOWN: Final = frozenset(_SPECIAL) | frozenset(name.lower() for name in COMMON_NAMES)

_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

_LENGTH_DIGITS_MAX: Final = len(str(BODY_LENGTH_MAX))


def is_token(text: str) -> bool:
    """Return whether ``text`` is a token (RFC 9110 5.6.2)."""
    return _is_token(text) is not None


def kind_of(name: str) -> int:
    """Return the kind of a field; ValueError if its name is not a token."""
    if _is_token(name) is None:
        raise ValueError("field name is not a token")
    return _SPECIAL.get(name.lower(), END_TO_END)


def kind_of_token(name: str) -> int:
    """Return the kind of a field whose name is a token."""
    return SPECIAL.get(name) or _SPECIAL.get(name.lower(), END_TO_END)


def content_length(value: str, known: int | None) -> int:
    """Return the number in a Content-Length field, which must agree with the one ``known`` from an earlier field.

    A list of the same number counts as one (RFC 9110 8.6); ValueError for any other form.
    """
    # int() takes signs, blanks, underscores and digits of all scripts.
    if known is None and value.isdigit() and value.isascii() and len(value) < _LENGTH_DIGITS_MAX:
        return int(value)
    if len(value) > LENGTH_LIST_MAX:
        raise ValueError("Content-Length is not a number")
    for part in value.split(","):
        digits = part.strip(" \t")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _LENGTH_DIGITS_MAX:
            raise ValueError("Content-Length is not a number")
        number = int(digits)
        if number > BODY_LENGTH_MAX:
            raise ValueError("Content-Length is too large")
        if known is not None and known != number:
            raise ValueError("Content-Length has different values")
        known = number
    assert known is not None  # split() gives one part at least
    return known


class ConnectionOptions:
    """The options of a message's Connection fields (RFC 9110 7.6.1).

    ``named``: fields, in lower case, that are hop-by-hop only because they are named here.
    """

    __slots__ = ("close", "keep_alive", "named", "upgrade")

    def __init__(self, values: str) -> None:
        options = {option.strip(" \t").lower() for option in values.split(",")}
        self.close = "close" in options
        self.keep_alive = "keep-alive" in options
        self.upgrade = "upgrade" in options
        self.named = frozenset(options - _KNOWN - {"", "close"})


def connection(values: list[str]) -> ConnectionOptions:
    """Return the options of these Connection fields; ValueError if they are too long."""
    text = values[0] if len(values) == 1 else ",".join(values)
    usual = _USUAL_CONNECTIONS.get(text)
    if usual is not None:
        return usual
    if len(text) > CONNECTION_FIELD_MAX:
        raise ValueError("Connection is too long")
    return ConnectionOptions(text)


#: Almost every message has one of these.
_USUAL_CONNECTIONS: Final = {
    text: ConnectionOptions(text) for text in ("keep-alive", "Keep-Alive", "close", "Close", "Upgrade", "upgrade")
}
