"""Lists of buffers that are written one behind the other."""

from __future__ import annotations

from collections.abc import Iterable

from pagent.limits import JOIN_MAX

Bytes = bytes | bytearray | memoryview


def joined(buffers: Iterable[Bytes]) -> list[Bytes]:
    """The same bytes: runs of buffers up to JOIN_MAX as one each, and larger ones as they are."""
    gathered: list[Bytes] = []
    run: list[Bytes] = []
    for buffer in buffers:
        if len(buffer) <= JOIN_MAX:
            run.append(buffer)
            continue
        if run:
            gathered.append(b"".join(run))
            run = []
        gathered.append(buffer)
    if run:
        gathered.append(b"".join(run))
    return gathered


def behind(buffers: list[Bytes], done: int) -> list[Bytes]:
    """What is left once the first ``done`` bytes have been written."""
    for number, buffer in enumerate(buffers):
        if done < len(buffer):
            return [memoryview(buffer)[done:], *buffers[number + 1 :]] if done else buffers[number:]
        done -= len(buffer)
    return []
