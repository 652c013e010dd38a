"""Scan the frames of a link without their payloads, so that the load generator takes less time than the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pagent.wire.frames import mask

#: Messages up to this size are passed on whole; of longer ones only the first HEAD bytes.
WHOLE_MAX: Final = 4096
HEAD: Final = 64

_BINARY_FINAL: Final = 0x82

#: Called with the first bytes (all up to WHOLE_MAX) and the length of a message.
OnMessage = Callable[[bytes, int], None]
#: Called with opcode and payload of a frame that is not a whole binary message.
OnOther = Callable[[int, bytes], None]


class FrameScanner:
    """Scans incrementally. It trusts that the frames are those of an agent."""

    __slots__ = ("_head", "_length", "_message", "_other", "_skip", "_tail")

    def __init__(self, message: OnMessage, other: OnOther) -> None:
        self._message = message
        self._other = other
        self._tail = b""  # an incomplete frame, of which more bytes are needed
        self._skip = 0  # payload bytes of a long message that are missing
        self._head = b""  # its first bytes
        self._length = 0

    def feed(self, data: bytes) -> None:
        at = 0
        end = len(data)
        if self._skip:
            if end < self._skip:
                self._skip -= end
                return
            at, self._skip = self._skip, 0
            self._message(self._head, self._length)
        elif self._tail:
            data = self._tail + data
            end = len(data)
            self._tail = b""
        while end - at >= 2:
            second = data[at + 1]
            length = second & 0x7F
            start = at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : start], "big")
            if second & 0x80:
                start += 4
            wanted = length if length <= WHOLE_MAX else HEAD
            if start + wanted > end:
                break
            piece = data[start : start + wanted]
            if second & 0x80:
                unmasked = bytearray(piece)
                mask(data[start - 4 : start], unmasked)
                piece = bytes(unmasked)
            head = data[at]
            at = start + length
            if head != _BINARY_FINAL:
                self._other(head & 0x0F, piece)
            elif at > end:
                self._head, self._length, self._skip = piece, length, at - end
                return
            else:
                self._message(piece, length)
        if at < end:
            self._tail = data[at:]
