"""Incremental decompression with bounded output: plain, gzip (RFC 1952), bzip2, xz, told apart by their first bytes.

::

    input = Decompressor()
    input.push(data)                        # as it arrives, in any split
    while not input.is_used_up:
        block = input.pull(size)            # b"" is nothing: a member may be empty
    input.end()                             # no more comes: pull what is left, then
    input.check_complete()                  # ValueError if it broke off

Several compressed members in a row are one archive, as their programs have it; zeros or rubbish after them are
not looked at.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from pagent import limits

#: A decompressor hands back what it did not use of its input as a copy. So it is given little at a time: after the
#: beginning of a member, which may be its whole, twice as much each time.
_INPUT_FIRST: Final = 512
_INPUT_MOST: Final = 64 * limits.KIB

#: Longest magic below: as many bytes decide.
_MAGIC_BYTES: Final = 6


class _Member(Protocol):
    """What bz2 and lzma have in common; zlib is made to fit."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the input that it did not use kept inside, as bz2's and lzma's have it."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._full = False  # the last output was cut short: there is more without input

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
    """See the module's text. ValueError from any method for corrupt input; not to be used after one.

    The input is used by offset: it is copied in pieces of at most 64 KiB, each byte a bounded number of times.
    """

    def __init__(self) -> None:
        self._input = b""
        self._at = 0  # used of the input
        self._ended = False

        self._decided = False
        self._make: Callable[[], _Member] | None = None  # None: plain
        self._member: _Member | None = None
        self._step = _INPUT_FIRST
        self._member_output = 0
        self._rubbish = False  # all that comes follows the last member
        #: Members begun so far. Each costs time, however short it is.
        self.members = 0

    @property
    def is_compressed(self) -> bool:
        """Is it anything but plain? True only once that is known."""
        return self._make is not None

    def push(self, data: bytes) -> None:
        """More input; best once all output of the last is pulled."""
        kept = self._at
        if self._member is not None and not self._member.needs_input:
            kept = max(0, kept - _INPUT_MOST)  # the member may end, and hand some of it back
        self._input = self._input[kept:] + data
        self._at -= kept

    def end(self) -> None:
        """No more input comes."""
        self._ended = True

    def pull(self, size: int) -> bytes:
        """The next output, ``size`` bytes at most; b"" if more input is needed for it, or at a member's end."""
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
    def is_used_up(self) -> bool:
        """Has all input been used? Only then does b"" of :meth:`pull` mean that more is needed."""
        if not self._decided:
            return len(self._input) < _MAGIC_BYTES and not self._ended
        if self._rubbish or self._make is None:
            return self._at == len(self._input) or self._rubbish
        return self._at == len(self._input) and (self._member is None or self._member.needs_input)

    def check_complete(self) -> None:
        """ValueError if the input ended in the middle of a member."""
        if self._member is not None and not self._is_after_last():
            raise ValueError("the archive is truncated: its compressed data breaks off")

    def _decide(self) -> None:
        self._decided = True
        for magic, make in _KINDS:
            if self._input.startswith(magic):
                self._make = make

    def _pull_member(self, size: int) -> bytes:
        """Output of one member: b"" also where it ends, so that the caller can count members."""
        while not self._rubbish:
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
            if not self._rubbish and self._member.eof:
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
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:  # bz2 has no class of its own
            if not self._is_after_last():
                raise ValueError(f"the archive is corrupt: {error}") from None
            self._rubbish = True
            return b""

    def _is_after_last(self) -> bool:
        """Nothing but rubbish so far after a member that was whole: the archive itself tells if it lacks something."""
        return self.members > 1 and self._member_output == 0
