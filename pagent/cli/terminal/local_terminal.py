"""The terminal of this process, while the program of a job uses it: raw mode, size and job control."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from pagent.cli.terminal import standard_streams

if sys.platform != "win32":
    import termios
    import tty

#: The size of a terminal that does not know its own.
_FALLBACK: Final = os.terminal_size((80, 24))


def window_size() -> os.terminal_size:
    """Return the size of this terminal itself: COLUMNS and LINES may be those of another one."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            size = os.get_terminal_size(fd)
            if size.columns and size.lines:
                return size
    return _FALLBACK


@contextmanager
def raw_mode() -> Iterator[None]:
    """Let the terminal pass each key on as it is, and restore it after the block and while this process is stopped."""
    mode = _RawMode()
    mode.enter()
    try:
        with _handled("SIGTSTP", mode.stop), _handled("SIGCONT", mode.enter):
            yield
    finally:
        mode.leave()


class _RawMode:
    """The raw mode of standard input."""

    def __init__(self) -> None:
        self._before: list[Any] = termios.tcgetattr(0)

    def enter(self) -> None:
        tty.setraw(0, termios.TCSANOW)
        standard_streams.set_raw(True)

    def leave(self) -> None:
        standard_streams.set_raw(False)
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def stop(self) -> None:
        """Stop this process as SIGTSTP does; SIGCONT enters the mode again."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def following_size(resize: Callable[[os.terminal_size], None]) -> Iterator[None]:
    """Call ``resize`` with the size of this terminal at each change, and when this process resumes."""

    def changed() -> None:
        resize(window_size())

    with _handled("SIGWINCH", changed):
        yield


@contextmanager
def _handled(name: str, action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` in the loop for each signal of this name, where the system has it."""
    number = getattr(signal, name, None)
    if number is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
