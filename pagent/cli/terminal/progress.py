"""Report the progress of a transfer: on a line of the terminal, or in messages where there is none."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import TracebackType
from typing import Final, Self

from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.sizes import size_of
from pagent.cli.terminal.status_line import StatusLine
from pagent.cli.terminal.times import clock
from pagent.log import escape

#: Seconds between two drawings of the line.
_DRAWN_S: Final = 0.2
#: Seconds before the first message, and between two of them.
_FIRST_MESSAGE_S: Final = 2.0
_MESSAGES_S: Final = 10.0
#: The rate is that of the last seconds.
_RATE_S: Final = 5.0
#: Columns of the bar, and of a terminal that has room for it and for a name.
_BAR: Final = 20
_WIDE: Final = 72


class ProgressLine:
    """A context manager, during whose block the line is drawn on standard error, if that is a terminal.

    :meth:`update` is the progress callback of a transfer.

    :param quiet: nothing is drawn.
    :param has_messages: without a terminal, messages report the progress of a slow transfer.
    """

    def __init__(self, label: str, *, quiet: bool = False, has_messages: bool = False) -> None:
        # For life.
        self._label = escape(label)
        self._has_messages = has_messages
        self._line = StatusLine(quiet=quiet)
        self._began = time.monotonic()
        # While it is drawn.
        self._done = self._total = 0
        self._reached: deque[tuple[float, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether the line is drawn."""
        return self._line.is_drawn

    def update(self, done: int, total: int) -> None:
        """Note how many bytes are done; the line is drawn at the first time, and then from time to time."""
        self._done, self._total = done, total
        if not self._reached:
            self._reached.append((time.monotonic(), done))  # bytes that were there at the start have no rate
            self._draw_line()

    def say(self, text: str) -> None:
        """Print a message above the line."""
        self._line.clear()
        standard_streams.say(escape(text))

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        if self.is_drawn:
            self._timer = asyncio.get_running_loop().call_later(_DRAWN_S, self._draw)
        elif self._has_messages:
            self._timer = asyncio.get_running_loop().call_later(_FIRST_MESSAGE_S, self._print)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._line.clear()

    def _draw(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_DRAWN_S, self._draw)
        self._draw_line()

    def _print(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_MESSAGES_S, self._print)
        standard_streams.say(f"{self._label}: {size_of(self._done)} of {size_of(self._total)}")

    def _draw_line(self) -> None:
        now = time.monotonic()
        self._reached.append((now, self._done))
        while len(self._reached) > 2 and now - self._reached[0][0] > _RATE_S:
            self._reached.popleft()
        since, before = self._reached[0]
        rate = (self._done - before) / (now - since) if now > since else 0.0
        self._line.draw(line_of(self._label, self._done, self._total, rate, self._line.columns()))


def line_of(label: str, done: int, total: int, rate: float, columns: int) -> str:
    """Return the line for a terminal of a width. ``rate`` in bytes a second."""
    part = done / total if total else 0.0
    left = clock((total - done) / rate) if rate > 0 and done < total else "-:--"
    figures = f"{part:4.0%} {size_of(done)}/{size_of(total)} {size_of(round(rate))}/s {left}"
    room = columns - 1 - len(figures)
    if columns >= _WIDE and room > _BAR + 3:
        full = round(_BAR * min(part, 1.0))
        figures = f"[{'#' * full}{' ' * (_BAR - full)}] {figures}"
        room -= _BAR + 3
    name = f"{label[: room - 1]} " if room > 4 else ""
    return f"{name}{figures}"[: max(columns - 1, 1)]
