"""A pseudo-terminal: one end for a command, the other for the person that uses it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios


class Terminal:
    """A pseudo-terminal: ``device`` is for the command, the other end is the person's."""

    def __init__(self) -> None:
        self._person, self.device = pty.openpty()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._person, text.encode())

    def until(self, text: str) -> str:
        """Return the output up to ``text``."""
        read = b""
        while text.encode() not in read:
            read += os.read(self._person, 4096)
        return read.decode()

    def close(self) -> None:
        os.close(self._person)
        os.close(self.device)
