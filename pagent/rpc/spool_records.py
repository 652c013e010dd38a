"""Encode the values of stream messages for a spool's file, and decode them.

A record is a tag, the length of its data (4 bytes, big-endian), and the data. Decoding returns the same values: a
bin as bytes or a view of the input, a str as a str, lone surrogates included, any other value by its msgpack form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pagent.buffers import JOIN_MAX, Bytes
from pagent.wire import messages
from pagent.wire.values import unpack

HEADER_BYTES: Final = 5
_BIN: Final = 0
_STR: Final = 1
_PACKED: Final = 2
#: Bytes that a record takes in memory in addition to its data.
_RECORD_COST: Final = 64


class Packed:
    """The msgpack form of a value that is neither a str nor a bin."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


Record = str | bytes | bytearray | memoryview | Packed


def record_of(value: Any) -> Record:
    """Return the record of a message's value."""
    is_plain = isinstance(value, (bytes, bytearray, memoryview, str))
    record: Record = value if is_plain else Packed(messages.pack(value))
    return record


def value_of(record: Record) -> Any:
    """Return the value of a record."""
    return unpack(record.data) if isinstance(record, Packed) else record


def cost(record: Record) -> int:
    """Return the bytes that a record counts, in memory and on disk."""
    if isinstance(record, str) and not record.isascii():
        return _RECORD_COST + len(record.encode("utf-8", "surrogatepass"))
    return _RECORD_COST + len(record.data if isinstance(record, Packed) else record)


def encode(records: list[Record]) -> Iterator[Bytes]:
    """Yield the bytes of records in a file: header and data of each in turn."""
    for record in records:
        tag, data = _tagged(record)
        yield bytes((tag,)) + len(data).to_bytes(4, "big")
        yield data


def _tagged(record: Record) -> tuple[int, Bytes]:
    if isinstance(record, str):
        return _STR, record.encode("utf-8", "surrogatepass")
    if isinstance(record, Packed):
        return _PACKED, record.data
    return _BIN, record


def record_bytes(header: bytes) -> int:
    """Return the bytes of the whole record that begins with this header."""
    return HEADER_BYTES + int.from_bytes(header[1:HEADER_BYTES], "big")


def decode(data: memoryview) -> tuple[list[Record], int]:
    """Return the whole records at the beginning of ``data``, and how many bytes they take."""
    values: list[Record] = []
    at = 0
    while len(data) - at >= HEADER_BYTES:
        start = at + HEADER_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if end > len(data):
            break
        payload = data[start:end]
        if data[at] == _STR:
            values.append(str(payload, "utf-8", "surrogatepass"))
        elif data[at] == _PACKED:
            values.append(Packed(bytes(payload)))
        else:
            values.append(payload if end - start > JOIN_MAX else bytes(payload))
        at = end
    return values, at
