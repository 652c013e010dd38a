"""An event loop whose time passes when a test says so."""

from __future__ import annotations

import asyncio


class SteppedLoop(asyncio.SelectorEventLoop):
    """A clock of the test: ``pass_time`` calls the timers that are due."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(2):  # timers become ready, then are called
            self.run_until_complete(asyncio.sleep(0))
