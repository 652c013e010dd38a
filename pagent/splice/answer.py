"""Send the head of a job's response to its caller, in the form for the kind of caller."""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Any, Final

from pagent.errors import RequestRefusedError
from pagent.http1.coding import decoder_for, is_encoded
from pagent.http1.decoder import Decoder, UnknownCodingError
from pagent.http1.fields import REFERENCE, TRAILER, BadResponse, Framing, kind_of
from pagent.http1.heads import RequestHead, ResponseHead
from pagent.http1.lines import lines_of
from pagent.http1.references import local_reference
from pagent.http1.spelling import with_usual_names
from pagent.http1.wire_text import fields_to_wire, latin1, to_wire
from pagent.limits import ERROR_TEXT_MAX
from pagent.splice.ends import StreamEnd
from pagent.splice.jobport import Destination

#: [name, value] each.
Fields = list[list[Any]]

_NO_BODY: Final = Framing.NONE
_PARTIAL_CONTENT: Final = 206
#: The first line of a head, by its status.
_STATUS_LINES: Final = {status: b"%d\r\n" % status for status in range(100, 600)}
#: Fields of a body that is decoded for the caller: its length and its ranges are those of the encoded one.
_DECODED: Final = frozenset({"content-encoding", "content-length", "accept-ranges"})


class Caller(enum.Enum):
    """How the peer uses a response."""

    FIELD = enum.auto()  # an old router: see usual_fields()
    OURS = enum.auto()
    RAW = enum.auto()  # a peer with extensions that passes the response on unchanged


# As in pagent.http1.
_FIELD: Final = Caller.FIELD
_RAW: Final = Caller.RAW


class UndecodableError(BadResponse):
    """The job's response is valid, and in a coding that cannot be undone for this caller."""


def fields_for(
    caller: Caller, head: ResponseHead, port: Destination, request: RequestHead
) -> tuple[Fields, Decoder | None]:
    """Return the fields for the caller, and a decoder if the body has to be decoded for it.

    :raises UndecodableError: the body is in an unknown coding.
    :raises BadResponse: the body is part of an encoded one.
    """
    fields: Fields = head.headers
    decoder: Decoder | None = None
    if head.content_encoding is not None and caller is not _RAW:
        encoded = is_encoded(head.content_encoding)
        bodiless = head.framing is _NO_BODY
        if encoded and not bodiless and head.length != 0:
            decoder = _decoder(head)
        fields = without_coding(fields, encoded=encoded, bodiless=bodiless)
    if head.local:
        fields = local_fields(fields, caller, port, request)
    if caller is _FIELD:
        fields = usual_fields(fields, head, request)
    return fields, decoder


def _decoder(head: ResponseHead) -> Decoder | None:
    try:
        decoder = decoder_for(head.content_encoding)
    except UnknownCodingError as error:
        raise UndecodableError(f"the job's response is encoded, but the request asked for no coding: {error}") from None
    if head.status == _PARTIAL_CONTENT:
        # Its ranges count encoded bytes (RFC 9110 8.8.3, 14.1.2): part of a coding cannot be undone.
        raise BadResponse("the job's response is a part of an encoded body")
    return decoder


def without_coding(fields: Fields, *, encoded: bool, bodiless: bool) -> Fields:
    """Return the fields without Content-Encoding, and without fields that describe the encoded body only.

    :param encoded: whether the field named a coding; some programs name a character set there.
    :param bodiless: no body comes: the length is then that of another response, and stays.
    """
    dropped = set(_DECODED) if encoded else {"content-encoding"}
    if bodiless:
        dropped.discard("content-length")
    return [pair for pair in fields if pair[0].lower() not in dropped]


def local_fields(fields: Fields, caller: Caller, port: Destination, request: RequestHead) -> Fields:
    """Return the fields with references to the job itself made path-absolute; only RAW callers keep Trailer.

    A value that is not UTF-8 is bytes, unless lines are made of it; for an old router, which takes none, it is read as
    Latin-1.
    """
    to_caller = latin1 if caller is _FIELD else str if request.in_lines else to_wire
    local: Fields = []
    for name, value in fields:
        kind = kind_of(name)
        if kind == REFERENCE:
            value = local_reference(name, value, port=port.number, scheme=port.scheme, host=request.host)
        if kind != TRAILER or caller is _RAW:
            local.append([name, to_caller(value)])
    return local


def usual_fields(fields: Fields, head: ResponseHead, request: RequestHead) -> Fields:
    """Return the fields as old routers need them (docs/contract.rst, "Proxy").

    Such a router compares names case-sensitively. It also makes chunks of a response without a length, even if there is
    no body, and its client takes the last chunk for the next response: see also :func:`spoils_connection`.
    """
    usual = with_usual_names(fields)
    if head.framing is _NO_BODY:
        if not any(name == "Content-Length" for name, _ in usual):
            usual.append(["Content-Length", "0"])
        if spoils_connection(_FIELD, head, request):
            usual.append(["Connection", "close"])
    return usual


def spoils_connection(caller: Caller, head: ResponseHead, request: RequestHead) -> bool:
    """Return whether the end of the response spoils the connection of the client.

    For a client that accepts compression, an old router compresses also a body that must not exist, drops the length,
    and writes the compressed nothing at the end of the call.
    """
    return caller is _FIELD and request.takes_compressed and head.framing is _NO_BODY


def head_block(status: int, lines: bytes) -> bytes:
    """Return the head of a response, final or interim, for a caller that has sent its own as lines."""
    return b"".join((_STATUS_LINES[status], lines, b"\r\n"))


def send_head(stream: StreamEnd, request: RequestHead, status: int, fields: Fields, *, as_read: bool = False) -> None:
    """Send the head of a response, final or interim, in the form in which the caller has sent its own.

    ``as_read``: values that are not UTF-8 have surrogates.
    """
    if request.in_lines:
        stream.send(head_block(status, lines_of(fields)))
    else:
        stream.send(status)
        stream.send(fields_to_wire(fields) if as_read else fields)


def send_error(
    stream: StreamEnd, caller: Caller, request: RequestHead, error: RequestRefusedError, *, always: bool = False
) -> None:
    """Send an error of the agent's own, with the reason as a line of text.

    An old router gets neither text nor fields (docs/contract.rst, "http_request") but ``Retry-After``, unless
    ``always`` is set.
    """
    status, line = error.status, " ".join(str(error).split())[:ERROR_TEXT_MAX]
    body = f"{status} {HTTPStatus(status).phrase}: {line}\n".encode("utf-8", "replace")
    fields = [] if error.retry_after_s is None else [["Retry-After", str(error.retry_after_s)]]
    if caller is not _FIELD:
        about = [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", str(len(body))]]
        send_head(stream, request, status, about + fields)
    elif request.is_head:
        head = ResponseHead(status, b"", _NO_BODY, None, True, None, False)
        send_head(stream, request, status, usual_fields(fields, head, request))
    else:
        send_head(stream, request, status, fields)
    if (always or caller is not _FIELD) and not request.is_head:
        stream.send(body)
