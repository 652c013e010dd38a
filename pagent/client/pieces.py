"""Bytes cut into messages that any peer takes."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

from pagent.buffers import BODY_CHUNK, Bytes


def pieces_of(data: Bytes) -> Iterator[memoryview]:
    """At most BODY_CHUNK bytes each; none is empty, which would be an end."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), BODY_CHUNK):
        yield view[start : start + BODY_CHUNK]


async def all_pieces(data: Bytes | AsyncIterable[Bytes]) -> AsyncIterator[memoryview]:
    """:func:`pieces_of` of all that comes."""
    if isinstance(data, AsyncIterable):
        async for part in data:
            for piece in pieces_of(part):
                yield piece
    else:
        for piece in pieces_of(data):
            yield piece
