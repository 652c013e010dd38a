"""Values in msgpack: how they are packed, and unpacked within bounds.

``_values.c`` packs and unpacks common values as msgpack does, in less than half of the time.

An element of an array or a map may take 64 bytes in memory for one on the wire, and 0.2 us. So a message has a limit on
the elements of all its arrays and maps together, beside the limits on each of them.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from pagent.buffers import Bytes
from pagent.limits import ELEMENTS_MAX, MESSAGE_ELEMENTS_MAX
from pagent.wire import native

#: The errors of unpacking bytes that are not valid.
UNPACK_FAULTS: Final = (ValueError, TypeError, RecursionError, msgpack.UnpackException)

_pack_common: Final = native.pack_common
_unpack_common: Final = native.unpack_common
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


class TooManyElementsError(ValueError):
    """A value is well-formed, but has more elements than any method accepts."""

    def __init__(self) -> None:
        super().__init__("too many elements in one message")


class _ElementCount:
    """Counts the elements of arrays and maps while a value is unpacked.

    msgpack calls it with each array and map once that is complete, so it has at most ELEMENTS_MAX more by then.
    """

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def __call__(self, value: Any) -> Any:
        self._left -= len(value)
        if self._left < 0:
            raise TooManyElementsError
        return value


def unpack(data: Bytes, most: int = MESSAGE_ELEMENTS_MAX, *, use_list: bool = True) -> Any:
    """Return the value in ``data``; one of UNPACK_FAULTS if it is not valid.

    TooManyElementsError if its arrays and maps have more than ``most`` elements. ``use_list``: arrays become lists,
    otherwise tuples.
    """
    if _unpack_common is not None:
        common = _unpack_common(data, min(most, ELEMENTS_MAX), use_list)
        if common is not NotImplemented:
            return common
    count = _ElementCount(most) if len(data) > most else None  # an element has at least one byte
    return msgpack.unpackb(
        data,
        use_list=use_list,
        list_hook=count,
        object_hook=count,
        ext_hook=_refuse_ext,
        max_array_len=ELEMENTS_MAX,
        max_map_len=ELEMENTS_MAX,
        max_ext_len=0,
        strict_map_key=False,  # a map with integer keys is a wrong argument of one call, not a fault of the link
    )


def first_two(data: bytes) -> tuple[Any, Any]:
    """Return the first two elements of the array that ``data`` begins with; one of UNPACK_FAULTS if there are none."""
    start = msgpack.Unpacker(max_ext_len=0)
    start.feed(data)
    start.read_array_header()
    return start.unpack(), start.unpack()


def _refuse_ext(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def pack(value: Any) -> bytes:
    """Return the msgpack of a value; a lone surrogate (of a file name, for example) becomes a readable escape.

    :raises TypeError: for a value that msgpack has no form for; OverflowError: an integer above 64 bits.
    """
    if _pack_common is not None and (common := _pack_common(value)) is not None:
        return common
    try:
        packed: bytes = _packer.pack(value)
    except UnicodeEncodeError:
        _packer.reset()
        packed = msgpack.packb(value, use_bin_type=True, unicode_errors="backslashreplace")
    except BaseException:
        _packer.reset()  # otherwise the bytes packed so far would precede the next message
        raise
    return packed
