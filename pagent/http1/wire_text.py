"""Text of heads that is not UTF-8: as a str in this process, and as bytes on a link.

RFC 9110 5.5 allows any byte from 0x80 in a field value, and clients and programs send Latin-1 there. A head is decoded
with ``surrogateescape``, so that it can be encoded to the same bytes. A msgpack str has to be UTF-8. Such text crosses
a link as a bin (docs/contract.rst, "Proxy").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Fields = list[list[str]]


def to_wire(text: str) -> str | bytes:
    """Return the text if it is UTF-8, otherwise its bytes."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def from_wire(text: Any) -> Any:
    """Return bytes as the str that :func:`to_wire` made them of, and any other value unchanged."""
    return text.decode("utf-8", "surrogateescape") if type(text) is bytes else text


def latin1(text: str) -> str:
    """Return the text as Latin-1 reads it if it is not UTF-8, for a peer that takes no bytes."""
    wire = to_wire(text)
    return wire.decode("latin-1") if isinstance(wire, bytes) else wire


def fields_to_wire(fields: Fields) -> list[list[Any]]:
    """Return fields with each value as :func:`to_wire` has it."""
    return [[name, to_wire(value)] for name, value in fields]


def fields_from_wire(fields: Sequence[Any]) -> list[Any]:
    """Return the pairs of a peer with each value as :func:`from_wire` has it; TypeError if one is no sequence."""
    return [[each[0], from_wire(each[1])] if len(each) == 2 else each for each in fields]


def has_bytes(fields: Any) -> bool:
    """Return whether a value of these pairs is bytes. The pairs are a peer's, and not checked."""
    pairs = (list, tuple)
    return isinstance(fields, pairs) and any(
        isinstance(each, pairs) and len(each) == 2 and type(each[1]) is bytes for each in fields
    )


def fields_as_latin1(fields: Fields) -> Fields:
    """Return fields with each value as :func:`latin1` has it."""
    return [[name, latin1(value)] for name, value in fields]
