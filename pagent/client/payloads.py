"""Split data into payloads of stream messages, small enough for every peer."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

from pagent.buffers import BODY_CHUNK, Bytes


def payloads_of(data: Bytes) -> Iterator[memoryview]:
    """Yield payloads of at most BODY_CHUNK bytes. None is empty, because an empty payload means the end."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), BODY_CHUNK):
        yield view[start : start + BODY_CHUNK]


async def all_payloads(data: Bytes | AsyncIterable[Bytes]) -> AsyncIterator[memoryview]:
    """Yield the payloads of bytes, or of each item of an async iterable."""
    if isinstance(data, AsyncIterable):
        async for part in data:
            for piece in payloads_of(part):
                yield piece
    else:
        for piece in payloads_of(data):
            yield piece
