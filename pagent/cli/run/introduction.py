"""The lines that ``pagent run`` prints on its job before the command is ready."""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.cli.terminal.standard_streams import say

#: Seconds. For a command that ends earlier, only its output and the reason of its end are printed.
_AFTER_S: Final = 0.5


class Introduction:
    """The line on the job, and a hint on its port. Empty texts are not printed.

    Both are printed a moment after the start of the command. The line alone is printed before that if the command
    listens by then: the hint is of no use any more.
    """

    def __init__(self, line: str, hint: str = "") -> None:
        # Until they are printed.
        self._line = line
        self._hint = hint
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Print the line and the hint after ``_AFTER_S``."""
        self._timer = asyncio.get_running_loop().call_later(_AFTER_S, self._print_all)

    def print_line(self) -> None:
        """Print the line on the job now, unless it was printed."""
        if self._line:
            say(self._line)
        self._line = ""

    def end(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _print_all(self) -> None:
        self.print_line()
        if self._hint:
            say(self._hint)
