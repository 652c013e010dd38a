"""What a caller is told of a response's head, by what kind of caller it is."""

from __future__ import annotations

import enum
from typing import Final

from pagent.http1.fields import REFERENCE, TRAILER, Framing, kind_of
from pagent.http1.heads import ResponseHead
from pagent.http1.references import local_reference
from pagent.http1.request import RequestHead
from pagent.http1.spelling import usual_name
from pagent.limits import ERROR_TEXT_MAX
from pagent.splice.jobport import JobPort

Fields = list[list[str]]

#: Fields of a body that is decoded for the caller: its length and its ranges are those of the encoded one.
_DECODED: Final = frozenset({"content-encoding", "content-length", "accept-ranges"})


class Caller(enum.Enum):
    """What the peer makes of a response."""

    FIELD = enum.auto()  # a router of the field: see usual_fields()
    OURS = enum.auto()
    RAW = enum.auto()  # one of ours that takes the wire as it is


def without_coding(fields: Fields, *, encoded: bool, bodiless: bool) -> Fields:
    """The fields without Content-Encoding, and what is only true of the encoded body.

    :param encoded: whether the field named a coding; some programs name a character set there.
    :param bodiless: no body comes: the length is then that of another response, and stays.
    """
    dropped = set(_DECODED) if encoded else {"content-encoding"}
    if bodiless:
        dropped.discard("content-length")
    return [pair for pair in fields if pair[0].lower() not in dropped]


def local_fields(fields: Fields, caller: Caller, port: JobPort, request: RequestHead) -> Fields:
    """The fields with references to the job itself made path-absolute, and Trailer only for who gets trailers."""
    local = []
    for name, value in fields:
        kind = kind_of(name)
        if kind == REFERENCE:
            value = local_reference(name, value, port=port.number, scheme=port.scheme, host=request.host)
        if kind != TRAILER or caller is Caller.RAW:
            local.append([name, value])
    return local


def usual_fields(fields: Fields, head: ResponseHead) -> Fields:
    """The fields as routers of the field need them (docs/contract.rst, "http_request", "Proxy").

    They look for names case-sensitively, and make chunks of what has no length, also where there is no body: the end of
    the chunks is then taken for the next response.
    """
    usual = [[usual_name(name), value] for name, value in fields]
    if head.framing is Framing.NONE and not any(name == "Content-Length" for name, _ in usual):
        usual.append(["Content-Length", "0"])
    return usual


def bad_gateway(reason: str) -> tuple[Fields, bytes]:
    """Fields and body of a 502 of the agent's own: one line that says why."""
    line = " ".join(reason.split())[:ERROR_TEXT_MAX]
    body = f"502 Bad Gateway: {line}\n".encode("utf-8", "replace")
    return [["Content-Type", "text/plain; charset=utf-8"], ["Content-Length", str(len(body))]], body
