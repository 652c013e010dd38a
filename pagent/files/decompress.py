"""Decompress incrementally with bounded output: plain, gzip (RFC 1952), bzip2 or xz, detected by their first bytes.

::

    input = Decompressor()
    input.push(data)                        # as it arrives, in any split
    while not input.is_exhausted:
        block = input.pull(size)            # may be b"": a member may be empty
    input.end()                             # the input is complete: pull the rest, then
    input.check_complete()                  # ValueError if it is truncated

Several compressed members in a row are one archive, as for the programs that write them. Zeros or other bytes after
them are ignored.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from pagent import limits

#: Input given to a decompressor at a time. It returns unused input as a copy, and a member may be short: so it gets
#: little at the beginning of a member, and twice the size each time.
_INPUT_FIRST: Final = 512
_INPUT_MOST: Final = 64 * limits.KIB

#: Length of the longest magic below, which is needed to decide.
_MAGIC_BYTES: Final = 6


class _Member(Protocol):
    """The common interface of bz2 and lzma, which `_Gzip` has as well."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor, which keeps its unused input inside, as those of bz2 and lzma do."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._full = False  # the last output was cut: there is more without input

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._zlib.unconsumed_tail or self._full)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)
        self._full = len(block) == max_length and not self._zlib.eof
        return block


def _xz() -> _Member:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.ARCHIVE_XZ_MEMORY)


_KINDS: Final[tuple[tuple[bytes, Callable[[], _Member]], ...]] = (
    (b"\x1f\x8b", _Gzip),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", _xz),
)


class Decompressor:
    """See the module's text. Any method raises ValueError for corrupt input, and is not usable after that.

    The input is read by offset and copied in pieces of at most 64 KiB, each byte a bounded number of times.
    """

    def __init__(self) -> None:
        self._input = b""
        self._at = 0  # offset of the input that is not used yet
        self._ended = False

        self._decided = False
        self._make: Callable[[], _Member] | None = None  # None: plain
        self._member: _Member | None = None
        self._step = _INPUT_FIRST
        self._member_output = 0
        self._ignores = False  # all further input follows the last member
        #: Members begun so far. Each takes time, however short it is.
        self.members = 0

    @property
    def is_compressed(self) -> bool:
        """Whether the input is not plain; True only once that is known."""
        return self._make is not None

    def push(self, data: bytes) -> None:
        """Add input, best after all output of the last one was pulled."""
        kept = self._at
        if self._member is not None and not self._member.needs_input:
            kept = max(0, kept - _INPUT_MOST)  # the member may end, and return some of it
        self._input = self._input[kept:] + data
        self._at -= kept

    def end(self) -> None:
        """End the input."""
        self._ended = True

    def pull(self, size: int) -> bytes:
        """Return the next output, at most ``size`` bytes; b"" if it needs more input, or at a member's end."""
        if not self._decided:
            if len(self._input) < _MAGIC_BYTES and not self._ended:
                return b""
            self._decide()
        if self._make is None:
            block = self._input[self._at : self._at + size]
            self._at += len(block)
            return block
        return self._pull_member(size)

    @property
    def is_exhausted(self) -> bool:
        """Whether all input was used. Only then does b"" of :meth:`pull` mean that more is needed."""
        if not self._decided:
            return len(self._input) < _MAGIC_BYTES and not self._ended
        if self._ignores or self._make is None:
            return self._at == len(self._input) or self._ignores
        return self._at == len(self._input) and (self._member is None or self._member.needs_input)

    def check_complete(self) -> None:
        """Raise ValueError if the input ended in the middle of a member."""
        if self._member is not None and not self._is_after_last():
            raise ValueError("the archive is truncated: its compressed data ends in the middle")

    def _decide(self) -> None:
        self._decided = True
        for magic, make in _KINDS:
            if self._input.startswith(magic):
                self._make = make

    def _pull_member(self, size: int) -> bytes:
        """Return output of one member; b"" also where it ends, so that the caller can count members."""
        while not self._ignores:
            if self._member is None and not self._next_member():
                return b""
            assert self._member is not None
            data = b""
            if self._member.needs_input:
                data = self._input[self._at : self._at + self._step]
                if not data:
                    return b""
                self._at += len(data)
                self._step = min(2 * self._step, _INPUT_MOST)
            block = self._decompress(self._member, data, size)
            self._member_output += len(block)
            if not self._ignores and self._member.eof:
                self._at -= len(self._member.unused_data)
                self._member = None
                return block
            if block:
                return block
        self._input, self._at = b"", 0
        return b""

    def _next_member(self) -> bool:
        if self.members:
            self._skip_zeros()
        if self._at == len(self._input):
            return False
        assert self._make is not None
        self._member = self._make()
        self._step = _INPUT_FIRST
        self.members += 1
        self._member_output = 0
        return True

    def _skip_zeros(self) -> None:
        step = _INPUT_FIRST
        while piece := self._input[self._at : self._at + step]:
            rest = len(piece.lstrip(b"\0"))
            self._at += len(piece) - rest
            if rest:
                return
            step = min(2 * step, _INPUT_MOST)

    def _decompress(self, member: _Member, data: bytes, size: int) -> bytes:
        try:
            return member.decompress(data, size)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:  # bz2 raises OSError
            if not self._is_after_last():
                raise ValueError(f"the archive is corrupt: {error}") from None
            self._ignores = True
            return b""

    def _is_after_last(self) -> bool:
        """Return whether only invalid input followed a whole member.

        The archive itself shows if something is missing.
        """
        return self.members > 1 and self._member_output == 0
