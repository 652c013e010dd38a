"""Messages of the common kinds, taken apart and put together without msgpack. ``_messages.c`` is the same in C."""

from __future__ import annotations

from typing import Any, Final

from pagent.buffers import Bytes

_CALL_START: Final = 2
_REQUEST_MESSAGE: Final = 4
_RESPONSE_MESSAGE: Final = 8

#: Bytes before those of a bin in a stream message, at the most.
_HEAD_MAX: Final = 2 + 9 + 5

#: The forms of an unsigned integer: up to which, what it begins with, and bytes of the number.
_UINTS: Final = (
    (0x7F, b"", 1),
    (0xFF, b"\xcc", 1),
    (0xFFFF, b"\xcd", 2),
    (0xFFFF_FFFF, b"\xce", 4),
    (0xFFFF_FFFF_FFFF_FFFF, b"\xcf", 8),
)


def take_apart(payload: Bytes, copied: int) -> tuple[int, int, Any] | None:
    """``(kind, call id, value)`` of a message in one of the forms that encoders choose; None for any other.

    For a stream message with a bin, its value: bytes if ``payload`` has no more than ``copied`` bytes, else a
    memoryview of it. For the start of a call that has no more either, all that lies behind its id, as bytes.
    """
    length = len(payload)
    head = bytes(payload if length <= copied else payload[:_HEAD_MAX])
    try:
        kind = head[1]
        if head[0] == 0x93 and kind in (_REQUEST_MESSAGE, _RESPONSE_MESSAGE):
            at, call_id = _read_id(head)
            size, at = _read_bin(head, at)
            if length != at + size:
                return None
            return kind, call_id, head[at:] if length <= copied else memoryview(payload)[at:]
        if head[0] == 0x96 and kind == _CALL_START and length <= copied:
            at, call_id = _read_id(head)
            if at < length:
                return kind, call_id, head[at:]
    except IndexError:
        pass  # too short, or of another form
    return None


def with_id(before: bytes, call_id: int, behind: bytes) -> bytes:
    """A message of its parts; OverflowError for an id that is negative or has more than 64 bits."""
    for most, tag, size in _UINTS:
        if call_id <= most:
            return b"".join((before, tag, call_id.to_bytes(size, "big"), behind))
    raise OverflowError(f"call id {call_id} has more than 64 bits")


def _read_id(message: bytes) -> tuple[int, int]:
    """The offset behind the call id, which is at offset 2, and the id; IndexError for what msgpack has to read."""
    first = message[2]
    if first < 0x80:
        return 3, first
    if first == 0xCC:
        return 4, message[3]
    if first == 0xCD:
        return 5, message[3] << 8 | message[4]
    if first == 0xCE:
        return 7, message[3] << 24 | message[4] << 16 | message[5] << 8 | message[6]
    if first == 0xCF and len(message) >= 11:
        return 11, int.from_bytes(message[3:11], "big")
    raise IndexError  # no integer, or in a signed form, which encoders of other languages may choose


def _read_bin(message: bytes, at: int) -> tuple[int, int]:
    """The length of the bin that begins at the offset, and the offset of its bytes; IndexError if there is none."""
    tag = message[at]
    if tag == 0xC4:
        return message[at + 1], at + 2
    if tag == 0xC5:
        return message[at + 1] << 8 | message[at + 2], at + 3
    if tag == 0xC6:
        return message[at + 1] << 24 | message[at + 2] << 16 | message[at + 3] << 8 | message[at + 4], at + 5
    raise IndexError
