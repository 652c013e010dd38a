"""Lists of buffers that are written one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pagent.limits import KIB

#: Buffers of at most this size are joined with their neighbours before they are written: copying a small one costs less
#: than a system call, or an entry of writev(2), for it.
JOIN_MAX: Final = 16 * KIB
#: Body bytes in one stream message.
BODY_CHUNK: Final = 256 * KIB


Bytes = bytes | bytearray | memoryview
#: The same for isinstance(): compiled, a tuple in the call itself would be made anew each time.
BYTES_TYPES: Final = (bytes, bytearray, memoryview)


def joined(buffers: Iterable[Bytes]) -> list[Bytes]:
    """Return the same bytes, with buffers of at most JOIN_MAX joined to their neighbours, larger ones as they are."""
    gathered: list[Bytes] = []
    run: list[Bytes] = []
    for buffer in buffers:
        if len(buffer) <= JOIN_MAX:
            run.append(buffer)
            continue
        if run:
            gathered.append(b"".join(run) if len(run) > 1 else run[0])
            run = []
        gathered.append(buffer)
    if run:
        gathered.append(b"".join(run))
    return gathered


def remaining(buffers: list[Bytes], done: int) -> list[Bytes]:
    """Return the buffers without the first ``done`` bytes, which were written."""
    for number, buffer in enumerate(buffers):
        if done < len(buffer):
            return [memoryview(buffer)[done:], *buffers[number + 1 :]] if done else buffers[number:]
        done -= len(buffer)
    return []
