"""Receive into shared buffers, views of which may be kept without a copy.

An event loop reads one link at a time, so its links share these buffers, and an idle link has none. A view of a part
of a buffer (a payload on its way to a job) keeps the whole buffer in use. The buffer is received into again once no
view of it exists. At most ``POOL_BUFFERS`` are in use in this way. Data received beyond that is copied, because a
stream that keeps a small part of each buffer would otherwise hold far more than it was sent.

CPython only: it refuses to change the size of a bytearray while a view of it exists.
"""

from __future__ import annotations

from typing import Final

from pagent.limits import MIB
from pagent.runtime.per_loop import PerLoop
from pagent.wire import native
from pagent.wire.frames import VIEW_LEAST

#: Bytes received at a time. Each system call may wake a thread on another core, at the cost of copying 100 KiB.
RECEIVE_BUFFER: Final = MIB
#: Receive buffers of one event loop that views may keep in use. A small view keeps its whole buffer, so beyond this
#: number everything is copied.
POOL_BUFFERS: Final = 16

_views: Final = native.views


class BufferPool:
    """The receive buffers of one event loop; :func:`current_pool` returns it."""

    __slots__ = ("_buffers", "_maybe_in_use", "_pooled", "_unpooled", "_view")

    def __init__(self) -> None:
        self._buffers = [_new()]
        self._unpooled: bytearray | None = None  # for data that has to be copied
        # The buffer that is being received into.
        self._view = memoryview(self._buffers[0])
        self._pooled = True
        self._maybe_in_use = False

    def space(self) -> memoryview:
        """Return a buffer to receive into, ``RECEIVE_BUFFER`` bytes, of which no view exists."""
        if self._maybe_in_use or not self._pooled:
            self._maybe_in_use = False
            if _views is None or not self._pooled or _views(self._view) > 1:
                self._choose()
        return self._view

    def allows_views(self, count: int) -> bool:
        """Return whether views of the ``count`` bytes just received may be kept; otherwise they have to be copied."""
        self._maybe_in_use = self._pooled and count > VIEW_LEAST
        return self._maybe_in_use

    def _choose(self) -> None:
        self._view.release()  # each part in use is another view
        for number, buffer in enumerate(self._buffers):
            if _is_free(buffer):
                self._buffers.insert(0, self._buffers.pop(number))  # the last one written is in the caches
                self._take(buffer, True)
                return
        if len(self._buffers) < POOL_BUFFERS:
            self._buffers.insert(0, _new())
            self._take(self._buffers[0], True)
            return
        if self._unpooled is None:
            self._unpooled = _new()
        self._take(self._unpooled, False)

    def _take(self, buffer: bytearray, pooled: bool) -> None:
        self._view = memoryview(buffer)
        self._pooled = pooled


_POOLS: Final = PerLoop(BufferPool)


def current_pool() -> BufferPool:
    """Return the buffer pool of the running loop."""
    return _POOLS.current()


def _new() -> bytearray:
    buffer = bytearray(RECEIVE_BUFFER)
    _is_free(buffer)  # this gives it room to grow by a byte without being moved
    return buffer


def _is_free(buffer: bytearray) -> bool:
    """Return whether no view of the buffer exists: the interpreter refuses to change its size otherwise."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True
