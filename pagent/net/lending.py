"""Where a link receives to: buffers whose contents may be kept by whoever gets a part of them, without a copy.

A buffer is read to again once nobody has any of it any more. At most LENT_BUFFERS are lent at a time, and what is
received beyond that has to be copied: a stream that keeps a small part of each would otherwise hold far more than it
was sent.
"""

from __future__ import annotations

from pagent.limits import LEND_LEAST, LENT_BUFFERS, RECEIVE_BUFFER


class LendingBuffers:
    """The buffers of one link."""

    __slots__ = ("_buffers", "_lendable", "_perhaps_lent", "_private", "_view")

    def __init__(self) -> None:
        self._buffers = [_new()]
        self._view = memoryview(self._buffers[0])
        self._private: bytearray | None = None
        self._lendable = True  # the one that is being received to
        self._perhaps_lent = False

    def space(self) -> memoryview:
        """Where to receive to. Nothing in it is anybody else's."""
        if self._perhaps_lent or not self._lendable:
            self._perhaps_lent = False
            self._choose()
        return self._view

    def lends(self, count: int) -> bool:
        """So many bytes have been received to it: may parts of them be lent?"""
        self._perhaps_lent = self._lendable and count > LEND_LEAST
        return self._perhaps_lent

    def _choose(self) -> None:
        self._view.release()  # of those who have a part each has a view of its own
        for number, buffer in enumerate(self._buffers):
            if _is_free(buffer):
                self._buffers.insert(0, self._buffers.pop(number))  # what was written last is in the caches
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


def _new() -> bytearray:
    buffer = bytearray(RECEIVE_BUFFER)
    _is_free(buffer)  # now it has room for that without being moved
    return buffer


def _is_free(buffer: bytearray) -> bool:
    """Whether there is no view of it: the interpreter refuses to change the size if there is one."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True
