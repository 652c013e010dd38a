"""Parse the head of a job's response.

Heads are parsed here, not by a C parser: for ten fields that takes as long as a C parser with its callbacks, and the
accepted forms do not depend on its version. A form that two parsers could understand differently is a
:class:`BadResponse`.
"""

from __future__ import annotations

from typing import Final

from pagent.http1.fields import (
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    END_TO_END,
    HOP_BY_HOP,
    HOST,
    REFERENCE,
    SPECIAL,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    BadResponse,
    ConnectionOptions,
    Framing,
    connection,
    content_length,
    kind_of_token,
)
from pagent.http1.heads import ResponseHead
from pagent.http1.lines import LEFT_OUT, lines_of, pairs_of, read_lines, scan, watch
from pagent.limits import RESPONSE_FIELDS_MAX

#: The beginnings of a status line, and the character that may follow.
_STATUS: Final = {f"HTTP/1.{minor} {status}": status for minor in (0, 1) for status in range(100, 600)}
_AFTER_STATUS: Final = frozenset({"", " "})

_SWITCHING_PROTOCOLS: Final = 101
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304
#: No body whatever the fields say (RFC 9112 6.3).
_BODILESS: Final = frozenset({*range(100, 200), _NO_CONTENT, _NOT_MODIFIED})

#: Kinds of fields that are passed on unchanged, and kinds whose values are used here.
_PASSED: Final = frozenset({END_TO_END, CONTENT_LENGTH, CONTENT_ENCODING, ACCEPT_ENCODING, HOST, REFERENCE, TRAILER})
_NOTED: Final = frozenset({CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, CONTENT_ENCODING, REFERENCE, TRAILER})
_WATCHED: Final = watch(
    {
        name.lower(): kind | (0 if kind in _PASSED else LEFT_OUT)
        for name, kind in SPECIAL.items()
        if kind in _NOTED or kind not in _PASSED
    }
)

#: Fields that a 101 is passed on without: it has no body (RFC 9110 8.6, RFC 9112 6.1), though some servers frame one,
#: and the connection is no longer one of HTTP.
_NOT_SWITCHED: Final = frozenset({CONTENT_LENGTH, TRANSFER_ENCODING, HOP_BY_HOP})
_NO_OPTIONS: Final = ConnectionOptions("")
_CONTENT_LENGTH_ONLY: Final = frozenset({"content-length"})

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


def parse_head(section: bytes, *, head_request: bool) -> ResponseHead:
    """Parse a head without its blank line.

    :raises BadResponse: the head is malformed or ambiguous.
    """
    try:
        start, count, lines, found = scan(section, True, _WATCHED)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    status, is_http_1_1 = _status(start, count)
    if status == _SWITCHING_PROTOCOLS:
        raise BadResponse("101 without an Upgrade")
    special: dict[int, list[str]] = {}
    for kind, _, value in found:
        if kind in special:
            special[kind].append(value)
        else:
            special[kind] = [value]

    length = None
    if CONTENT_LENGTH in special:
        values = special[CONTENT_LENGTH]
        length = _length(values)
        if len(values) > 1 or not _is_plain(values[0]):
            lines = _with_length(lines, str(length))
    transfer = special.get(TRANSFER_ENCODING)
    options = _connection(special[CONNECTION]) if CONNECTION in special else _NO_OPTIONS
    if head_request or status in _BODILESS:
        framing = _NO_BODY
        if length is not None and (transfer is not None or status == _NO_CONTENT):
            # A 204 must not have it (RFC 9110 8.6), and beside Transfer-Encoding it is not forwarded (RFC 9112 6.3).
            lines = _without(lines, _CONTENT_LENGTH_ONLY)
    elif transfer is None:
        framing = _UNTIL_CLOSE if length is None else _BY_LENGTH
    else:
        framing = _transfer_framing(transfer, length, is_http_1_1)
    if options.named:
        lines = _without(lines, options.named)

    # HTTP/1.0 with Transfer-Encoding: its framing is faulty (RFC 9112 6.1). And many programs answer HEAD as GET and
    # write a body nevertheless, often a moment later.
    kept = is_http_1_1 or (options.keep_alive and transfer is None)
    keep_alive = kept and not (options.close or head_request or framing is _UNTIL_CLOSE)
    encoding = ", ".join(special[CONTENT_ENCODING]) if CONTENT_ENCODING in special else None
    local = REFERENCE in special or TRAILER in special or not section.isascii()
    body_length = length if framing is _BY_LENGTH else None
    return ResponseHead(status, lines, framing, body_length, keep_alive, encoding, local)


def _status(start: str, fields: int) -> tuple[int, bool]:
    """Return the status, and whether the head is of HTTP/1.1 (RFC 9112 section 4)."""
    status = _STATUS.get(start[:12])
    # Servers without reason phrases often leave out the blank after the status.
    if status is None or start[12:13] not in _AFTER_STATUS:
        raise BadResponse("not the status line of an HTTP/1.1 or HTTP/1.0 response")
    if fields > RESPONSE_FIELDS_MAX:
        raise BadResponse("too many fields")
    return status, start[7] == "1"


def _without(lines: bytes, names: frozenset[str]) -> bytes:
    """Return the lines without those of these names, which are in lower case."""
    return lines_of([pair for pair in pairs_of(lines) if pair[0].lower() not in names])


def switch_fields(section: bytes, protocols: frozenset[str]) -> list[list[str]]:
    """Return the fields of a 101 response to an offer of these protocols (RFC 9110 7.8).

    Some servers leave out ``Connection: Upgrade``, which strict clients ask for: it is added.

    :raises BadResponse: it is malformed, or switches to a protocol that was not offered.
    """
    fields: list[list[str]] = []
    chosen: list[str] = []
    options: list[str] = []
    try:
        start, pairs = read_lines(section)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    _status(start, len(pairs))
    for pair in pairs:
        kind = kind_of_token(pair[0])
        if kind == UPGRADE:
            chosen += [part.strip(" \t").lower() for part in pair[1].split(",")]
        elif kind == CONNECTION:
            options.append(pair[1])
        if kind not in _NOT_SWITCHED:
            fields.append(pair)
    if not chosen or not protocols.issuperset(chosen):
        raise BadResponse("101 to a protocol that was not offered")
    if not options or not _connection(options).upgrade:
        fields.append(["Connection", "Upgrade"])
    return fields


def _length(values: list[str]) -> int:
    """Return the number on which all Content-Length fields must agree."""
    length: int | None = None
    try:
        for value in values:
            length = content_length(value, length)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    assert length is not None
    return length


def _is_plain(value: str) -> bool:
    return value.isdigit() and (value[0] != "0" or value == "0")


def _with_length(lines: bytes, length: str) -> bytes:
    """Return the lines with one Content-Length, in plain form, in the place of the first."""
    pairs: list[list[str]] = []
    is_first = True
    for pair in pairs_of(lines):
        if pair[0].lower() not in _CONTENT_LENGTH_ONLY:
            pairs.append(pair)
        elif is_first:
            is_first = False
            pairs.append([pair[0], length])
    return lines_of(pairs)


def _connection(values: list[str]) -> ConnectionOptions:
    try:
        return connection(values)
    except ValueError as error:
        raise BadResponse(str(error)) from None


def _transfer_framing(transfer: list[str], length: int | None, is_http_1_1: bool) -> Framing:
    """Apply RFC 9112 6.1 and 6.3; where they leave a choice between a guess and an error, raise the error."""
    if not is_http_1_1:
        raise BadResponse("Transfer-Encoding in HTTP/1.0")
    if length is not None:
        raise BadResponse("Transfer-Encoding and Content-Length")
    # No coding was offered in TE, so only "chunked" is valid (7.4). "chunked" twice or not last is always an error.
    if len(transfer) != 1 or transfer[0].lower() != "chunked":
        raise BadResponse("Transfer-Encoding is not chunked")
    return _CHUNKED
