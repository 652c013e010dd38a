"""Let coroutines with long work on the loop take turns: one batch of one of them in each loop iteration."""

from __future__ import annotations

import asyncio
from collections import deque


class Rounds:
    """``await next()`` before each batch. A batch is then all that these coroutines do in one loop iteration."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._due = False

    async def next(self) -> None:
        """Wait for a loop iteration in which no other coroutine begins a batch."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._due:
            self._due = True
            loop.call_soon(self._begin_one)
        await turn

    def _begin_one(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled meanwhile
                turn.set_result(None)
                break
        self._due = bool(self._waiting)
        if self._due:
            asyncio.get_running_loop().call_soon(self._begin_one)
