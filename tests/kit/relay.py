"""A way between two ends on the loopback that is long, slow, jumpy, or ends where a test says.

::

    the dialling side -- up --> relay --> where it leads
              <-- down --

Bytes are never changed nor reordered: it is TCP. What can happen to them is that they come late, in other pieces, not
at all any more, or that the connection ends between any two of them.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

#: Bytes that one direction reads at a time.
_READ: Final = 65_536
#: How long pieces that are to be merged wait for the next one.
_GATHER_S: Final = 0.01
#: Reset the connection instead of ending it.
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Shape:
    """The treatment of one direction of a connection."""

    #: How late bytes arrive, each time a value between these two.
    delay_s: tuple[float, float] = (0.0, 0.0)
    #: The most that goes out in one segment: 1 is a trickle. ``irregular``: each time another size up to it.
    piece: int = _READ
    irregular: bool = False
    #: Small segments are merged up to this size, as long as the next one comes at once.
    gather: int = 0
    #: After this number of bytes the connection is reset, in both directions.
    cut_at: int | None = None
    #: After this number of bytes nothing passes in either direction, while both kernels are still answered.
    hole_at: int | None = None


@dataclass(frozen=True)
class Shapes:
    """Both directions of a connection."""

    up: Shape = field(default_factory=Shape)
    down: Shape = field(default_factory=Shape)


def both(shape: Shape) -> Shapes:
    return Shapes(shape, shape)


class _Direction:
    """Bytes of one direction of a connection; ``passed`` counts them."""

    def __init__(self, shape: Shape, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed = 0
        self._shape = shape
        self._reader = reader
        self._writer = writer
        self._random = random.Random(0)
        self._due: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(64)

    async def take(self) -> None:
        """Read pieces; each is due at its time, and never before the piece before it."""
        loop = asyncio.get_running_loop()
        due = 0.0
        data: bytes | None = b"-"
        while data:
            try:
                data = await self._reader.read(_READ)
            except OSError:
                data = None  # that end was reset
            due = max(due, loop.time() + self._random.uniform(*self._shape.delay_s))
            await self._due.put((due, data))

    async def give(self, hole: asyncio.Event) -> bool:
        """Send it on; True if the connection is to be cut now, False at the end of the direction."""
        async for data in self._arriving():
            if data is None:
                return True
            for piece in self._pieces(data):
                if self._reached(self._shape.cut_at):
                    return True
                if self._reached(self._shape.hole_at):
                    hole.set()
                if hole.is_set():
                    await asyncio.Event().wait()
                self._writer.write(piece)
                self.passed += len(piece)
                await self._writer.drain()
                await asyncio.sleep(0)  # separate segments
            if self._reached(self._shape.cut_at):
                return True
        self._writer.write_eof()
        return False

    async def _arriving(self) -> AsyncIterator[bytes | None]:
        """Yield the due pieces, until the direction ends; None in place of an end that is a reset."""
        loop = asyncio.get_running_loop()
        gathered = b""
        while True:
            try:
                due, data = await asyncio.wait_for(self._due.get(), _GATHER_S if gathered else None)
            except TimeoutError:
                yield gathered
                gathered = b""
                continue
            await asyncio.sleep(due - loop.time())
            if data:
                gathered += data
            if gathered and (not data or len(gathered) >= self._shape.gather):
                yield gathered
                gathered = b""
            if data is None:
                yield None
            if not data:
                return

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = self._random.randint(1, self._shape.piece) if self._shape.irregular else self._shape.piece
            for limit in (self._shape.cut_at, self._shape.hole_at):
                if limit is not None and limit > self.passed:
                    size = min(size, limit - self.passed)
            yield data[at : at + size]
            at += size

    def _reached(self, limit: int | None) -> bool:
        return limit is not None and self.passed >= limit


class Relay:
    """``port`` leads to ``target``. ``shapes`` are those of connections to come; ``next_shapes`` go first, one each."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.shapes = Shapes()
        self.next_shapes: list[Shapes] = []
        self.made = 0
        self._running: set[asyncio.Task[None]] = set()
        self._latest: tuple[_Direction, ...] = ()
        self._hole = asyncio.Event()

    @property
    def open(self) -> int:
        """Connections that there are now."""
        return len(self._running)

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes that the latest connection has let pass: up, down."""
        up, down = self._latest
        return up.passed, down.passed

    def cut(self) -> None:
        """Reset all connections, now."""
        for task in self._running:
            task.cancel()

    def swallow(self) -> None:
        """Let nothing pass any more on the connections that there are now, in neither direction."""
        hole, self._hole = self._hole, asyncio.Event()
        hole.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.made += 1
        shapes = self.next_shapes.pop(0) if self.next_shapes else self.shapes
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(far_writer)
            await self._join(_Direction(shapes.up, reader, far_writer), _Direction(shapes.down, far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # an end is gone, or the connection was cut
        finally:
            for each in writers:
                if (end := each.get_extra_info("socket")) is not None and not each.is_closing():
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.transport.abort()
            self._running.discard(task)

    async def _join(self, *directions: _Direction) -> None:
        """Until both directions have ended, one is to be cut, or an end is gone."""
        self._latest = directions
        hole = self._hole
        takes = [asyncio.create_task(direction.take()) for direction in directions]
        gives = [asyncio.create_task(direction.give(hole)) for direction in directions]
        try:
            for next_done in asyncio.as_completed(gives):
                if await next_done:
                    return
        finally:
            for task in takes + gives:
                task.cancel()
            await asyncio.gather(*takes, *gives, return_exceptions=True)

    async def close(self) -> None:
        self.cut()
        if self._running:
            await asyncio.wait(self._running)


@asynccontextmanager
async def relay(target: int, shapes: Shapes | None = None) -> AsyncIterator[Relay]:
    """A relay to a port of this machine; all its connections are closed after the block."""
    made = Relay(target)
    made.shapes = shapes or made.shapes
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    try:
        made.port = server.sockets[0].getsockname()[1]
        yield made
    finally:
        server.close()
        await made.close()
