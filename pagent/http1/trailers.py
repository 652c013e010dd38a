"""Trailers: the fields after the last chunk of a body (RFC 9112 section 7.1.2), read and written.

A field that frames, routes or authenticates a message, or says how to process it, must not be a trailer (RFC 9110
6.5.1). Programs that merge trailers into the head would believe it. Such fields are left out in both directions.
"""

from __future__ import annotations

from typing import Any, Final

from pagent.http1.fields import END_TO_END, BadResponse, kind_of
from pagent.http1.lines import read_lines, write_lines
from pagent.http1.target import check_pairs
from pagent.http1.wire_text import fields_from_wire, has_bytes
from pagent.limits import RESPONSE_FIELDS_MAX, TRAILERS_MAX

#: After the data of all chunks, if there are no trailers.
LAST_CHUNK: Final = b"0\r\n\r\n"

#: Fields of one hop, and those that frame or route, are known by their kind.
_FORBIDDEN: Final = frozenset(
    (
        # Credentials, challenges and state.
        "authorization",
        "cookie",
        "set-cookie",
        "www-authenticate",
        # Modifiers of a request.
        "cache-control",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "pragma",
        "range",
        # Control data of an answer.
        "age",
        "date",
        "expires",
        "retry-after",
        "vary",
        # The processing of the content.
        "content-range",
        "content-type",
    )
)


def may_trail(name: str) -> bool:
    """Return whether a field may be a trailer; ValueError if its name is not a token.

    "_" counts as "-", because programs that make variables of fields (CGI, WSGI) do not distinguish them.
    """
    dashed = name.replace("_", "-")
    return kind_of(dashed) == END_TO_END and dashed.lower() not in _FORBIDDEN


def trailer_fields(section: bytes) -> list[list[str]]:
    """Return the pairs of a trailer section, which begins with CRLF, without fields that no trailer may have."""
    try:
        _, fields = read_lines(section)
    except ValueError as error:
        raise BadResponse(f"trailers: {error}") from None
    if len(fields) > RESPONSE_FIELDS_MAX:
        raise BadResponse("too many trailers")
    return [pair for pair in fields if may_trail(pair[0])]


def last_chunk(trailers: Any) -> bytes:
    """Return the end of a body in chunks, with its trailers, [name, value] each; a value may be bytes.

    ValueError or TypeError if ``trailers`` is anything else, or cannot be written. The text names no value.
    """
    if has_bytes(trailers):
        trailers = fields_from_wire(trailers)
    check_pairs(trailers, "trailers", RESPONSE_FIELDS_MAX)
    data = write_lines("0", [pair for pair in trailers if may_trail(pair[0])])
    if len(data) > TRAILERS_MAX:
        raise ValueError("the trailers are too large")
    return data
