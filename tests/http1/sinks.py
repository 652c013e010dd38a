"""A sink that records a response."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from pagent.http1.heads import ResponseHead
from pagent.http1.response import BadResponse, ResponseParser


class RecordingSink:
    """Records events in order, with neighbouring body pieces joined: where a body is cut is not promised."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.pieces: list[bytes | memoryview] = []

    def head(self, head: ResponseHead) -> None:
        shape = (head.status, head.headers, head.framing, head.length, head.keep_alive, head.content_encoding)
        self.events.append(("head", shape))

    def body(self, data: bytes | memoryview) -> None:
        assert len(data) > 0
        self.pieces.append(data)
        before = b""
        if self.events[-1][0] == "body":
            before = self.events.pop()[1]
        self.events.append(("body", before + bytes(data)))

    def trailers(self, fields: list[list[str]]) -> None:
        self.events.append(("trailers", fields))

    def complete(self, reusable: bool) -> None:
        self.events.append(("complete", reusable))

    @property
    def bytes(self) -> bytes:
        return b"".join(data for kind, data in self.events if kind == "body")


def parse(pieces: Iterable[bytes], *, head_request: bool = False, eof: bool = False) -> list[tuple[str, Any]]:
    """Return the events of a response; a fault is the last one, with whether the head came before it."""
    sink = RecordingSink()
    parser = ResponseParser(sink, head_request=head_request)
    try:
        for piece in pieces:
            parser.feed(piece)
        if eof:
            parser.eof()
    except BadResponse:
        sink.events.append(("bad", any(kind == "head" for kind, _ in sink.events)))
    return sink.events


def split_at(data: bytes, *places: int) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
