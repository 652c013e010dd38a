"""Send bodies in blocks, as fast as they are taken or at a rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from bench import wire

#: Blocks that a paced body sends at once.
_BURST: Final = 4


class Pump:
    """Sends ``size`` bytes, then calls ``end``.

    ``block(n)`` gives the bytes on the wire for n bytes of the body, ``write`` takes them and returns whether more
    may follow; if not, :meth:`run` is to be called once it may. ``rate``: bytes per second, None for no limit.
    """

    def __init__(
        self,
        size: int,
        rate: float | None,
        block: Callable[[int], bytes],
        write: Callable[[bytes], bool],
        end: Callable[[], None],
    ) -> None:
        self._size = size
        self._rate = rate
        self._block = block
        self._write = write
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._began = 0.0
        self._left = 0
        self._full = b""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._left = self._size
        self._full = self._block(len(wire.BLOCK))
        self._began = self._loop.time()
        self.run()

    def run(self) -> None:
        """Send the next blocks, if any are left and it is time."""
        if self._timer is not None or not self._left:
            return
        burst = 0
        while self._left:
            if burst == _BURST and self._rate is not None:
                at = self._began + (self._size - self._left) / self._rate
                self._timer = self._loop.call_at(at, self._again)
                return
            taken = min(self._left, len(wire.BLOCK))
            self._left -= taken
            burst += 1
            if not self._write(self._full if taken == len(wire.BLOCK) else self._block(taken)) and self._left:
                return
        self._end()

    def _again(self) -> None:
        self._timer = None
        self.run()
