"""The last output of a command."""

from __future__ import annotations

import re
from typing import Final

from pagent.names import JOINING

#: Bytes of output that are kept, to explain a failure.
TAIL_BYTES: Final = 4096
_LINE_BYTES: Final = 512
#: Lines that are listed of a request.
LINES: Final = 10

#: Lines end with LF, or with the CR of a line that is rewritten in place.
_line_ends: Final = re.compile(rb"[\r\n]")
#: Control sequences (ECMA-48), and control characters but the end of a line.
_controls: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x09\x0b-\x1f\x7f-\x9f]"
)
#: Text that may be a token, whole or in part: a command may print its standard input.
_long_words: Final = re.compile(r"[A-Za-z0-9_.-]{40,}")
_has_digit: Final = re.compile(r"[0-9]").search
_has_letter: Final = re.compile(r"[A-Za-z]").search
_LEFT_OUT: Final = "***"


class OutputTail:
    """Keeps the end of a command's output on both streams, and looks for the line of an agent that joins.

    Control characters are left out, and so is text that looks like a token.
    """

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
        return _clean(self._tail)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last 10 lines of these 4 KiB that are not empty."""
        return tuple([line for line in self.text.split("\n") if line.strip()][-LINES:])

    def add(self, stream: str, data: bytes) -> None:
        """Take output of the command."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        *lines, rest = _line_ends.split(self._lines.get(stream, b"") + data)
        self._lines[stream] = rest[-_LINE_BYTES:]
        self.is_joining = self.is_joining or any(_is_joining(line) for line in lines)
        last = next((text for line in reversed(lines) if (text := _clean(line[-_LINE_BYTES:]))), "")
        self.last_line = last or self.last_line


def _is_joining(line: bytes) -> bool:
    return line.rstrip().endswith(JOINING.encode())


def _clean(data: bytes) -> str:
    text = _controls.sub("", data.replace(b"\r", b"\n").decode("utf-8", "replace"))
    return _long_words.sub(_without_token, text).strip()


def _without_token(found: re.Match[str]) -> str:
    word = found[0]
    return _LEFT_OUT if _has_digit(word) and _has_letter(word) else word
