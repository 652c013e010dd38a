"""A terminal as a screen that is drawn again and again, and its keys. The terminal is restored at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.local_terminal import following_size, window_size

#: The alternate screen, without a cursor; and back (xterm, and all terminals that follow it).
_ENTER: Final = b"\033[?1049h\033[?25l"
_LEAVE: Final = b"\033[?25h\033[?1049l"
#: Go to the first line; clear the rest of a line; clear the rest of the screen.
_HOME: Final = "\033[H"
_CLEAR_LINE: Final = "\033[K"
_CLEAR_REST: Final = "\033[J"
_KEYS_MAX: Final = 64


def has_screen() -> bool:
    """Return whether standard output is a terminal that can be drawn on."""
    return standard_streams.can_redraw(1) and bool(os.environ.get("TERM"))


class Screen:
    """The screen within ``with``. ``events`` gets each key that is pressed, and an empty text for a new size."""

    def __init__(self, events: asyncio.Queue[str]) -> None:
        self._events = events
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        with ExitStack() as stack:
            stack.enter_context(self._keys())
            stack.enter_context(following_size(lambda _: self._events.put_nowait("")))
            stack.enter_context(_alternate())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def size(self) -> os.terminal_size:
        """Return the size of the window now."""
        return window_size()

    async def draw(self, lines: Sequence[str]) -> None:
        """Draw lines from the top. Those that do not fit are left out. OSError."""
        rows = [f"{line}{_CLEAR_LINE}" for line in lines[: self.size.lines]]
        text = _HOME + "\r\n".join(rows) + _CLEAR_REST
        await standard_streams.write(1, text.encode("utf-8", "backslashreplace"))

    @contextmanager
    def _keys(self) -> Iterator[None]:
        """Read keys one by one, without an echo. Ctrl-C and Ctrl-Z remain signals."""
        if not standard_streams.is_terminal(0):
            yield
            return
        import termios
        import tty

        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(0)
        try:
            tty.setcbreak(0, termios.TCSANOW)
            loop.add_reader(0, self._read)
            yield
        finally:
            loop.remove_reader(0)
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _read(self) -> None:
        try:
            data = os.read(0, _KEYS_MAX)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(0)
        for key in data.decode("utf-8", "replace"):
            self._events.put_nowait(key)


@contextmanager
def _alternate() -> Iterator[None]:
    os.write(1, _ENTER)
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal is gone
            os.write(1, _LEAVE)
