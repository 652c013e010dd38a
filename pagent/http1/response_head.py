"""The head of a job's response, from its bytes.

Heads are read here, not by a C parser: for ten fields that takes as long as a C parser with its callbacks, and what is
accepted does not depend on its version. What two readers could understand in two ways is a :class:`BadResponse`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pagent.http1.fields import (
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    END_TO_END,
    HOST,
    ORDINARY,
    REFERENCE,
    SPECIAL,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    BadResponse,
    Connection,
    Framing,
    connection,
    content_length,
    decode_lines,
    kind_of,
)
from pagent.http1.heads import ResponseHead
from pagent.limits import RESPONSE_FIELDS_MAX

#: The beginnings of a status line, and what may follow.
_STATUS: Final = {f"HTTP/1.{minor} {status}": status for minor in (0, 1) for status in range(100, 600)}
_BEHIND_STATUS: Final = frozenset({"", " "})
_LINES_MAX: Final = RESPONSE_FIELDS_MAX + 1
#: Bytes of a head that is worth remembering, and that 256 of may be.
REMEMBERED_MAX: Final = 1024

_SWITCHING_PROTOCOLS: Final = 101
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304
#: No body whatever the fields say (RFC 9112 6.3).
_BODILESS: Final = frozenset({*range(100, 200), _NO_CONTENT, _NOT_MODIFIED})

#: Kinds of fields that go on as they are, and that mean something here.
_PASSED: Final = frozenset({END_TO_END, CONTENT_LENGTH, CONTENT_ENCODING, ACCEPT_ENCODING, HOST, REFERENCE, TRAILER})
_NOTED: Final = frozenset({CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, CONTENT_ENCODING, REFERENCE, TRAILER})

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


def parse_head(section: bytes, *, head_request: bool) -> ResponseHead:
    """A head less its blank line. The same head gives the same object: it is not to be changed.

    :raises BadResponse: as the module says.
    """
    if len(section) > REMEMBERED_MAX:
        return _parse_head(section, head_request)
    return _parse_again(section, head_request)


def _parse_head(section: bytes, head_request: bool) -> ResponseHead:
    lines = decode_lines(section)
    # RFC 9112 section 4. A missing blank behind the status is common where there is no reason phrase.
    start = lines[0]
    status = _STATUS.get(start[:12])
    if status is None or start[12:13] not in _BEHIND_STATUS:
        raise BadResponse("not the status line of an HTTP/1.1 or HTTP/1.0 response")
    if status == _SWITCHING_PROTOCOLS:
        raise BadResponse("101 without an Upgrade")
    if len(lines) > _LINES_MAX:
        raise BadResponse("too many fields")
    headers, special = _fields(lines)

    length = _length(headers, special[CONTENT_LENGTH]) if CONTENT_LENGTH in special else None
    transfer = special.get(TRANSFER_ENCODING)
    keep_alive = is_http_1_1 = start[7] == "1"
    if head_request or status in _BODILESS:
        framing = _NO_BODY
        if length is not None and (transfer is not None or status == _NO_CONTENT):
            # Not to be sent with 204 at all (RFC 9110 8.6), nor sent on from beside Transfer-Encoding (RFC 9112 6.3).
            headers = [pair for pair in headers if kind_of(pair[0]) != CONTENT_LENGTH]
    elif transfer is None:
        framing = _UNTIL_CLOSE if length is None else _BY_LENGTH
    else:
        framing = _transfer_framing(transfer, length, is_http_1_1)

    if CONNECTION in special:
        options = _connection(special[CONNECTION])
        # HTTP/1.0 with Transfer-Encoding: its framing is faulty (RFC 9112 6.1).
        keep_alive = not options.close and (is_http_1_1 or (options.keep_alive and transfer is None))
        if options.named:
            headers = [pair for pair in headers if pair[0].lower() not in options.named]
    if framing is _BY_LENGTH:
        body_length = length
    else:
        body_length = None
        keep_alive = keep_alive and framing is not _UNTIL_CLOSE
    if head_request:
        # Many programs answer HEAD as GET, and write a body all the same, often a moment later.
        keep_alive = False
    encoding = ", ".join(special[CONTENT_ENCODING]) if CONTENT_ENCODING in special else None
    local = REFERENCE in special or TRAILER in special
    return ResponseHead(status, headers, framing, body_length, keep_alive, encoding, local)


def switch_fields(section: bytes, protocols: frozenset[str]) -> list[list[str]]:
    """All fields of a 101, which is the answer to an offer of these protocols (RFC 9110 7.8).

    :raises BadResponse: it is malformed, or switches to something that was not offered.
    """
    lines = decode_lines(section)
    if lines[0][:12] not in _STATUS or lines[0][12:13] not in _BEHIND_STATUS:
        raise BadResponse("not the status line of an HTTP/1.1 or HTTP/1.0 response")
    if len(lines) > _LINES_MAX:
        raise BadResponse("too many fields")
    fields: list[list[str]] = []
    chosen: list[str] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        try:
            kind = kind_of(name)
        except ValueError as error:
            raise BadResponse(str(error)) from None
        if not colon:
            raise BadResponse("field without a colon")
        if kind == UPGRADE:
            chosen += [part.strip(" \t").lower() for part in value.split(",")]
        fields.append([name, value])
    if not chosen or not protocols.issuperset(chosen):
        raise BadResponse("101, and to no protocol that was offered")
    return fields


# What a program answers again and again (to a poll, an event, a missing file) within one second of its Date is the same
# to the byte: looking it up takes a tenth of reading it, and a look-up in vain 2 % more.
_parse_again = lru_cache(maxsize=256)(_parse_head)


def _fields(lines: list[str]) -> tuple[list[list[str]], dict[int, list[str]]]:
    """The fields that go on, and the values of those that mean something here, by kind. The first line is no field."""
    headers: list[list[str]] = []
    special: dict[int, list[str]] = {}
    add = headers.append
    del lines[0]
    line = ":"
    try:
        for line in lines:
            pair = line.split(":", 1)
            name, value = pair
            pair[1] = value = value.strip(" \t")
            if name in ORDINARY:
                add(pair)
                continue
            # A blank before the colon, and a line that continues the one before, are names that are not tokens.
            kind = SPECIAL.get(name) or kind_of(name)
            if kind in _NOTED:
                if kind not in special:
                    special[kind] = [value]
                else:
                    special[kind].append(value)
                    if kind == CONTENT_LENGTH:
                        continue
            if kind in _PASSED:
                add(pair)
    except ValueError as error:
        raise BadResponse(str(error) if ":" in line else "field without a colon") from None
    return headers, special


def _length(headers: list[list[str]], values: list[str]) -> int:
    """The one number that all Content-Length fields must say; ``headers`` has it once, and plainly, after this."""
    first = values[0]
    length: int | None = None
    try:
        for value in values:
            length = content_length(value, length)
    except ValueError as error:
        raise BadResponse(str(error)) from None
    assert length is not None
    if len(values) > 1 or not first.isdigit() or first[0] == "0":
        for pair in headers:
            if kind_of(pair[0]) == CONTENT_LENGTH:
                pair[1] = str(length)
    return length


def _connection(values: list[str]) -> Connection:
    try:
        return connection(values)
    except ValueError as error:
        raise BadResponse(str(error)) from None


def _transfer_framing(transfer: list[str], length: int | None, is_http_1_1: bool) -> Framing:
    """RFC 9112 6.1 and 6.3; where they leave a choice between a guess and an error, the error."""
    if not is_http_1_1:
        raise BadResponse("Transfer-Encoding in HTTP/1.0")
    if length is not None:
        raise BadResponse("Transfer-Encoding and Content-Length")
    # No TE was sent, so nothing else may come (7.4); "chunked" twice, or with another last, is an error in any case.
    if len(transfer) != 1 or transfer[0].lower() != "chunked":
        raise BadResponse("Transfer-Encoding is not chunked")
    return _CHUNKED
