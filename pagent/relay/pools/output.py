"""The last output of a command."""

from __future__ import annotations

from typing import Final

from pagent.names import JOINING

#: Bytes that are kept: what a failure is explained with.
TAIL_BYTES: Final = 4096
_LINE_BYTES: Final = 512


class OutputTail:
    """Keeps the end of what a command writes on its two streams, and looks for the line of an agent that joins."""

    def __init__(self) -> None:
        self._tail = b""
        self._lines: dict[str, bytes] = {}  # the unfinished line of each stream
        #: The last line that is not empty.
        self.last_line = ""
        #: Whether the agent has read its join data.
        self.is_joining = False

    @property
    def text(self) -> str:
        """The last 4 KiB."""
        return self._tail.decode("utf-8", "replace").strip()

    def add(self, stream: str, data: bytes) -> None:
        """Take what the command has written."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        *lines, rest = (self._lines.get(stream, b"") + data).split(b"\n")
        self._lines[stream] = rest[-_LINE_BYTES:]
        for line in lines:
            if text := line[-_LINE_BYTES:].decode("utf-8", "replace").strip():
                self.is_joining = self.is_joining or text.endswith(JOINING)
                self.last_line = text
