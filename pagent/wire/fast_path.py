"""Decode and encode the common kinds of messages without msgpack. ``_messages.c`` decodes the same in C."""

from __future__ import annotations

from typing import Any, Final

from pagent.buffers import Bytes

_CALL_START: Final = 2
_REQUEST_MESSAGE: Final = 4
_RESULT: Final = 7
_RESPONSE_MESSAGE: Final = 8
#: The end of a result after its value: the status of a success, no error.
_SUCCESS_END: Final = b"\x00\xc0"

_BIN_8: Final = tuple(bytes((0xC4, length)) for length in range(0x100))

_ARRAY_OF_4: Final = b"\x94"
#: The most bytes before the payload of a stream message.
_HEAD_MAX: Final = 2 + 9 + 5


def decode_common(payload: Bytes, copied: int) -> tuple[int, int, Any] | None:
    """Return ``(kind, call id, value)`` of a message in one of the forms that encoders choose; None for any other.

    The value of a stream message with a bin is its payload: bytes if the message has at most ``copied`` bytes,
    otherwise a memoryview. That of the result of a successful call is its packed value, in the same way. The value of a
    call start of at most ``copied`` bytes is an array of all that follows its id, packed.
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
                return kind, call_id, _ARRAY_OF_4 + head[at:]
        if head[0] == 0x95 and kind == _RESULT and payload[-2:] == _SUCCESS_END:
            at, call_id = _read_id(head)
            size, at = _read_bin(head, at)
            if length != at + size + len(_SUCCESS_END):
                return None
            return kind, call_id, head[at:-2] if length <= copied else memoryview(payload)[at:-2]
    except IndexError:
        pass  # too short, or of another form
    return None


def join_with_id(before: bytes, call_id: int, after: bytes) -> bytes:
    """Return a message of its parts; OverflowError for an id that is negative or has more than 64 bits."""
    if 0x80 <= call_id <= 0xFFFF_FFFF:  # nearly all ids
        if call_id <= 0xFF:
            return before + b"\xcc" + call_id.to_bytes(1, "big") + after
        if call_id <= 0xFFFF:
            return before + b"\xcd" + call_id.to_bytes(2, "big") + after
        return before + b"\xce" + call_id.to_bytes(4, "big") + after
    if call_id < 0x80:
        return before + call_id.to_bytes(1, "big") + after
    return before + b"\xcf" + call_id.to_bytes(8, "big") + after


def bin_header(length: int) -> bytes:
    """Return the bytes before a bin of ``length`` bytes."""
    if length < 0x100:
        return _BIN_8[length]
    if length < 0x1_0000:
        return b"\xc5" + length.to_bytes(2, "big")
    return b"\xc6" + length.to_bytes(4, "big")


def bin_result(call_id: int, value: bytes) -> bytes:
    """Return the RESULT of a call that succeeded with a bin. ``_messages.c`` does the same in C."""
    packed = bin_header(len(value)) + value
    return join_with_id(b"\x95\x07", call_id, b"%b%b%b" % (bin_header(len(packed)), packed, _SUCCESS_END))


def _read_id(message: bytes) -> tuple[int, int]:
    """Return the offset after the call id, which is at offset 2, and the id; IndexError if msgpack has to read it."""
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
    raise IndexError  # no integer, or a signed form, which encoders of other languages may choose


def _read_bin(message: bytes, at: int) -> tuple[int, int]:
    """Return the length of the bin that begins at the offset, and the offset of its bytes; IndexError without a bin."""
    tag = message[at]
    if tag == 0xC4:
        return message[at + 1], at + 2
    if tag == 0xC5:
        return message[at + 1] << 8 | message[at + 2], at + 3
    if tag == 0xC6:
        return message[at + 1] << 24 | message[at + 2] << 16 | message[at + 3] << 8 | message[at + 4], at + 5
    raise IndexError
