"""Set up the pseudo-terminal of a process: its size, its character set, and the end of its input."""

from __future__ import annotations

import os
import struct
import sys
from typing import Final

if sys.platform != "win32":
    import fcntl
    import termios

#: ``IUTF8`` of termios(3), the same bit on Linux and macOS; Python's termios does not name it everywhere.
_IUTF8: Final = 0x4000

#: Indices in the list that tcgetattr(3) gives in Python.
_IFLAG: Final = 0
_LFLAG: Final = 3
_CC: Final = 6


def open_terminal(rows: int, cols: int) -> tuple[int, int]:
    """Make a pseudo-terminal and return its two descriptors, the agent's (non-blocking) and the process's. OSError."""
    ours, theirs = os.openpty()
    try:
        os.set_blocking(ours, False)
        attributes = termios.tcgetattr(theirs)
        attributes[_IFLAG] |= _IUTF8  # otherwise the erase character takes away one byte of several
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        set_size(ours, rows, cols)
    except BaseException:
        os.close(ours)
        os.close(theirs)
        raise
    return ours, theirs


def set_size(terminal: int, rows: int, cols: int) -> None:
    """Set the size of a terminal; its foreground processes get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def end_of_input(terminal: int, last: int | None) -> bytes:
    """Return the bytes to type so that the next read of the process returns 0. OSError.

    ``last``: the last byte typed so far. In canonical mode the end-of-file character hands an unfinished line to the
    process, and means the end only at the beginning of a line: then it has to be typed twice (termios(3), "VEOF").
    """
    attributes = termios.tcgetattr(terminal)
    character: bytes = attributes[_CC][termios.VEOF]
    if not attributes[_LFLAG] & termios.ICANON:
        # No character means the end. Line editors such as readline take this one for it.
        return b"\x04"
    if character == b"\0":  # _POSIX_VDISABLE
        return b""
    return character if last is None or last in _line_ends(attributes) else character * 2


def _line_ends(attributes: list[object]) -> set[int]:
    """Return the bytes after which a line is finished when they are typed on this terminal."""
    flags, characters = attributes[_IFLAG], attributes[_CC]
    assert isinstance(flags, int)
    assert isinstance(characters, list)
    named = (characters[index] for index in (termios.VEOF, termios.VEOL, termios.VEOL2))
    ends = {character[0] for character in named if character != b"\0"}
    if not flags & termios.INLCR:
        ends.add(0x0A)
    if flags & termios.ICRNL and not flags & termios.IGNCR:
        ends.add(0x0D)
    return ends
