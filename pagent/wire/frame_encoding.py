"""Encode WebSocket frames (RFC 6455 section 5): opcodes, headers, masks."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.wire import native

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_PACK_7: Final = struct.Struct("!BB").pack
_PACK_16: Final = struct.Struct("!BBH").pack
_PACK_64: Final = struct.Struct("!BBQ").pack


def frame_header(opcode: int, length: int, *, mask: int = 0) -> bytes:
    """Return the header of a final frame without its mask key; ``mask`` is 0 or 0x80."""
    if length < 126:
        return _PACK_7(0x80 | opcode, mask | length)
    if length < 0x1_0000:
        return _PACK_16(0x80 | opcode, mask | 126, length)
    return _PACK_64(0x80 | opcode, mask | 127, length)


def binary_frame_in_python(head: Bytes, rest: Bytes) -> bytes:
    return b"".join((frame_header(BINARY, len(head) + len(rest)), head, rest))


#: Return an unmasked frame of a binary message in two parts.
binary_frame: Final[Callable[[Bytes, Bytes], bytes]] = native.binary_frame or binary_frame_in_python


def binary_head_in_python(head: Bytes, rest: Bytes) -> bytes:
    return b"".join((frame_header(BINARY, len(head) + len(rest)), head))


#: Return what comes before the second part in an unmasked frame of a binary message in two parts.
binary_head: Final[Callable[[Bytes, Bytes], bytes]] = native.binary_head or binary_head_in_python


class _Keys:
    """Mask keys, unpredictable as 5.3 asks, from the kernel's generator a page at a time."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def next(self) -> bytes:
        if self._at == len(self._pool):
            self._pool = os.urandom(4096)
            self._at = 0
        self._at += 4
        return self._pool[self._at - 4 : self._at]


_next_key = _Keys().next


def mask_in_python(key: bytes, data: bytearray | memoryview) -> None:
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(repeated, "little") ^ int.from_bytes(data, "little")
    data[:] = masked.to_bytes(size, "little")


#: Mask or unmask a payload in place (RFC 6455 section 5.3).
mask: Final[Callable[[bytes, Any], None]] = native.mask or mask_in_python


def masked_frame_in_python(opcode: int, key: bytes, head: Bytes, rest: Bytes) -> bytes:
    payload = bytearray().join((head, rest))
    mask(key, payload)
    return b"".join((frame_header(opcode, len(payload), mask=0x80), key, payload))


_make_masked: Final[Callable[[int, bytes, Bytes, Bytes], bytes]] = native.masked_frame or masked_frame_in_python


def masked_frame(opcode: int, head: Bytes, rest: Bytes = b"") -> bytes:
    """Return a masked frame of a message in one or two parts, as a client sends it."""
    return _make_masked(opcode, _next_key(), head, rest)
