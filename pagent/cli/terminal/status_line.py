"""A line of the terminal that is rewritten in place."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from pagent.cli.terminal import standard_streams

_CLEAR: Final = "\r\033[K"
#: Columns of a terminal that does not know its size.
_COLUMNS: Final = 80


class StatusLine:
    """The line, on standard error. ``is_drawn``: whether that is a terminal that can draw it; otherwise nothing is."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.is_drawn: Final = not quiet and standard_streams.can_redraw(2)
        self._is_empty = True

    def draw(self, text: str) -> None:
        """Replace the text of the line, cut to the width of the terminal."""
        if self.is_drawn:
            self._write(_CLEAR + text[: max(self.columns() - 1, 1)])
            self._is_empty = False

    def clear(self) -> None:
        """Remove the text of the line."""
        if not self._is_empty:
            self._write(_CLEAR)
            self._is_empty = True

    def columns(self) -> int:
        """Return the width of the terminal."""
        try:
            return os.get_terminal_size(2).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    @staticmethod
    def _write(text: str) -> None:
        with suppress(OSError):
            os.write(2, text.encode(errors="backslashreplace"))
