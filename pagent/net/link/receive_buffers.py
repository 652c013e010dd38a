"""Receive into shared buffers, parts of which may be kept without a copy.

An event loop reads one link at a time, so its links share these buffers: an idle link has none. A part of a buffer
that is still in use (a payload on its way to a job) keeps the whole buffer. The buffer is received into again once no
part of it is in use. At most ``LENT_BUFFERS`` are in use in this way. What is received beyond that is copied, because a
stream that keeps a small part of each buffer would otherwise hold far more than it was sent.

CPython only: it refuses to change the size of a bytearray while a view of it exists.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

from pagent.limits import MIB
from pagent.wire.frames import LEND_LEAST

#: Bytes received at a time. Each system call may wake a thread on another core, which costs as much as copying 100 KiB.
RECEIVE_BUFFER: Final = MIB
#: Receive buffers of one event loop whose contents may be in use without a copy. A small part that is in use keeps its
#: whole buffer, so beyond this number everything is copied.
LENT_BUFFERS: Final = 16


class ReceiveBuffers:
    """The receive buffers of one event loop; :func:`current_receive_buffers` returns them."""

    __slots__ = ("_buffers", "_in_use_perhaps", "_lendable", "_private", "_view")

    def __init__(self) -> None:
        self._buffers = [_new()]
        self._private: bytearray | None = None  # for what has to be copied
        # The buffer that is being received into.
        self._view = memoryview(self._buffers[0])
        self._lendable = True
        self._in_use_perhaps = False

    def space(self) -> memoryview:
        """Return where to receive to, ``RECEIVE_BUFFER`` bytes, none of them in use."""
        if self._in_use_perhaps or not self._lendable:
            self._in_use_perhaps = False
            self._choose()
        return self._view

    def lends(self, count: int) -> bool:
        """Return whether parts of the ``count`` bytes just received may be kept; otherwise they have to be copied."""
        self._in_use_perhaps = self._lendable and count > LEND_LEAST
        return self._in_use_perhaps

    def _choose(self) -> None:
        self._view.release()  # each part in use is a view of its own
        for number, buffer in enumerate(self._buffers):
            if _is_free(buffer):
                self._buffers.insert(0, self._buffers.pop(number))  # the last one written is in the caches
                self._take(buffer, True)
                return
        if len(self._buffers) < LENT_BUFFERS:
            self._buffers.insert(0, _new())
            self._take(self._buffers[0], True)
            return
        if self._private is None:
            self._private = _new()
        self._take(self._private, False)

    def _take(self, buffer: bytearray, lendable: bool) -> None:
        self._view = memoryview(buffer)
        self._lendable = lendable


_BUFFERS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, ReceiveBuffers]] = WeakKeyDictionary()


def current_receive_buffers() -> ReceiveBuffers:
    """Return the receive buffers of the running loop."""
    loop = asyncio.get_running_loop()
    buffers = _BUFFERS.get(loop)
    if buffers is None:
        buffers = _BUFFERS[loop] = ReceiveBuffers()
    return buffers


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
