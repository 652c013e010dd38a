"""Common to the decoders of content codings: their interface, their errors, and pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from pagent.buffers import BODY_CHUNK
from pagent.errors import PagentError
from pagent.limits import KIB

#: Compressed bytes given to a decoder at a time. For each piece of output a decoder copies its unused input.
DECODE_STEP: Final = 16 * KIB


class UnknownCodingError(PagentError, LookupError):
    """A Content-Encoding that cannot be undone here: the body can only be passed on with its field."""


class CodingError(PagentError):
    """The body does not match its Content-Encoding: it is corrupt or cut short."""


class Decoder(Protocol):
    """One body's decoder."""

    def feed(self, data: bytes | memoryview, /) -> Iterator[bytes]:
        """Return pieces of the decoded body; an empty one for work without output.

        The iterator has to be exhausted before the next call.

        :raises CodingError: while iterating.
        """

    def finish(self) -> None:
        """Note that the body has ended.

        :raises CodingError: the coded data has not ended.
        """


def steps(data: bytes | memoryview) -> Iterator[memoryview]:
    """Return encoded data in pieces that a decoder is given one at a time."""
    view = memoryview(data)
    for start in range(0, len(view), DECODE_STEP):
        yield view[start : start + DECODE_STEP]


def pieces(decoded: bytes) -> Iterator[bytes]:
    """Return the output of a decoder in pieces; an empty one for no output."""
    if len(decoded) <= BODY_CHUNK:
        yield decoded
        return
    for start in range(0, len(decoded), BODY_CHUNK):
        yield decoded[start : start + BODY_CHUNK]
