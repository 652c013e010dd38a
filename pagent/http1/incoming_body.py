"""Parse the body of a request that a client sends to the router (RFC 9112 section 6), as it arrives."""

from __future__ import annotations

from collections.abc import Callable

from pagent.http1.chunked import CHUNK_JOIN_MAX, ChunkedDecoder
from pagent.http1.fields import BadResponse, Framing
from pagent.http1.incoming import BadRequest, IncomingHead
from pagent.http1.incoming_fields import passes_unchanged


class IncomingBody:
    """Cuts one body out of the bytes of a connection.

    :param piece: is called with each piece of it, none of which is empty.
    """

    __slots__ = ("_chunks", "_left", "_piece")

    def __init__(self, head: IncomingHead, piece: Callable[[bytes | memoryview], None]) -> None:
        self._piece = piece
        self._left = head.length
        self._chunks = ChunkedDecoder(piece) if head.framing is Framing.CHUNKED else None

    @property
    def more(self) -> bool:
        """Whether :meth:`feed` has left some for its next call, which may be one with no bytes."""
        return self._chunks is not None and self._chunks.more

    @property
    def trailers(self) -> list[list[str]]:
        """The trailers that are forwarded, once the body has ended: [name, value] each."""
        fields = self._chunks.fields if self._chunks is not None else []
        return [pair for pair in fields if passes_unchanged(pair[0])]

    def feed(self, data: bytes, at: int) -> int | None:
        """Take ``data`` from ``at``; return the offset of the byte after the body, None if the body has not ended.

        BadRequest if it is not well chunked; the bytes before the fault have been handed on.
        """
        if self._chunks is not None:
            try:
                return self._chunks.feed(data, at)
            except BadResponse:
                raise BadRequest("the request's body is not chunked as it should be") from None
        end = min(at + self._left, len(data))
        size = end - at
        self._left -= size
        if size and size == len(data):
            self._piece(data)
        elif size:
            self._piece(data[at:end] if size < CHUNK_JOIN_MAX else memoryview(data)[at:end])
        return end if not self._left else None
