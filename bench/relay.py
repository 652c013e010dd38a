"""A slow link: ``python -m bench.relay PORT DELAY_S RATE``, for kernels that cannot simulate one.

Prints the free port that it listens on. What comes is sent on to PORT ``DELAY_S`` later, either way, at RATE bytes a
second; bytes above the rate wait in a short queue, and when that is full the relay does not read.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Final, cast

import uvloop

#: Seconds of data that the queue before the link holds, about as many as that of a network router.
_QUEUE_S: Final = 0.02


class _Direction:
    """Bytes on their way in one direction."""

    def __init__(self, delay_s: float, rate: float) -> None:
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self._delay_s = delay_s
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._free_at = 0.0  # time at which the link has taken all queued bytes
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def take(self, data: bytes) -> None:
        now = self._loop.time()
        self._free_at = max(now, self._free_at) + len(data) / self._rate
        self._under_way.append((self._free_at + self._delay_s, data))
        if self._free_at - now > _QUEUE_S and not self._paused and self.source is not None:
            self._paused = True
            self.source.pause_reading()
            self._loop.call_at(self._free_at - _QUEUE_S / 2, self._resume)
        if self._timer is None:
            self._deliver()

    def end(self) -> None:
        if self.target is not None:
            self.target.abort()

    def _resume(self) -> None:
        self._paused = False
        if self.source is not None and not self.source.is_closing():
            self.source.resume_reading()

    def _deliver(self) -> None:
        self._timer = None
        now = self._loop.time()
        ready = []
        while self._under_way and self._under_way[0][0] <= now:
            ready.append(self._under_way.popleft()[1])
        if ready and self.target is not None:
            self.target.write(b"".join(ready))
        if self._under_way:
            self._timer = self._loop.call_at(self._under_way[0][0], self._deliver)


class _End(asyncio.Protocol):
    def __init__(self, outward: _Direction, inward: _Direction) -> None:
        self._outward = outward
        self._inward = inward

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outward.source = self._inward.target = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._outward.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._outward.end()


async def _serve(port: int, delay_s: float, rate: float) -> None:
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[object]] = set()

    def accept() -> _End:
        there, back = _Direction(delay_s, rate), _Direction(delay_s, rate)
        # The delay is longer than the far side takes to connect.
        task = loop.create_task(loop.create_connection(lambda: _End(back, there), "127.0.0.1", port))
        joining.add(task)
        task.add_done_callback(joining.discard)
        return _End(there, back)

    server = await loop.create_server(accept, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
