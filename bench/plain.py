"""The load generator over TCP: HTTP/1.1 and WebSocket by hand, a connection for each lane.

It drives the reference, other proxies, and the job itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar, cast

from bench import wire
from bench.pump import Pump
from bench.way import Fault, Lane, idle

_BINARY: Final = 2
_READY_TIMEOUT_S: Final = 10.0


class _Connection(asyncio.Protocol):
    """The common part of all lanes over TCP."""

    __slots__ = ("_closing", "_transport", "_way", "done")

    def __init__(self, way: PlainWay) -> None:
        self.done: Callable[[], None] = idle
        self._way = way
        self._transport: asyncio.Transport | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closing:
            self._way.fail(f"a connection was lost: {exc}")

    def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


C = TypeVar("C", bound=_Connection)


class _Request(_Connection):
    """A request whose answer has ``size`` bytes of body."""

    def __init__(self, way: PlainWay, request: Callable[[], bytes], size: int) -> None:
        super().__init__(way)
        self._request = request
        self._size = size
        self._left = -1  # bytes of the body that are missing; -1: the head is missing, too
        self._head = b""

    def send(self) -> None:
        self._write(self._request())

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            data = self._head + data if self._head else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            if not data.startswith(b"HTTP/1.1 200 "):
                self._way.fail(f"an answer began {data[:40]!r}")
                return
            self._head = b""
            self._left = self._size + end + 4
        self._left -= len(data)
        if self._left <= 0:
            if self._left < 0:
                self._way.fail("an answer was too long")
            self._left = -1
            self.done()


def _block(size: int) -> bytes:
    return wire.BLOCK[:size]


class _Put(_Request):
    """A request with a body."""

    def __init__(self, way: PlainWay, size: int, rate: float | None) -> None:
        head = wire.request("POST", f"{way.prefix}/bytes/0", ("Content-Length", str(size)))
        super().__init__(way, lambda: head, 12)
        self._pump = Pump(size, rate, _block, self._write_on, idle)
        self._paused = False

    def send(self) -> None:
        super().send()
        self._pump.start()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump.run()

    def _write_on(self, data: bytes) -> bool:
        self._write(data)
        return not self._paused


class _Echo(_Connection):
    """A WebSocket. The echo is one frame, so its bytes are counted only."""

    __slots__ = ("_echo_bytes", "_head", "_left", "_message", "open")

    def __init__(self, way: PlainWay, size: int) -> None:
        super().__init__(way)
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._message = wire.frame(_BINARY, bytes(size), masked=True)
        self._echo_bytes = len(wire.frame(_BINARY, bytes(size), masked=False))
        self._left = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._write(wire.upgrade_request(f"{self._way.prefix}/ws"))

    def send(self) -> None:
        self._left = self._echo_bytes
        self._write(self._message)

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            self._head += data
            if self._head.endswith(b"\r\n\r\n"):
                if not self._head.startswith(b"HTTP/1.1 101 "):
                    self._way.fail(f"an upgrade was answered {self._head[:40]!r}")
                self.open.set_result(None)
            return
        self._left -= len(data)
        if self._left == 0:
            self.done()
        elif self._left < 0:
            self._way.fail("an echo was too long")


class _Events(_Connection):
    def __init__(self, way: PlainWay, seen: Callable[[int], None]) -> None:
        super().__init__(way)
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._write(wire.request("GET", f"{self._way.prefix}/events"))

    def data_received(self, data: bytes) -> None:
        for time in wire.event_times(data):
            self._seen(time)


class PlainWay:
    """A way through a TCP port.

    ``pids``: the process that listens on it, and those after it up to the job. ``prefix``: what the targets of requests
    begin with.
    """

    def __init__(self, name: str, port: int, pids: tuple[int, ...], job_pid: int, prefix: str = "") -> None:
        self.name = name
        self.pids = pids
        self.job_pid = job_pid
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.prefix = prefix
        self._port = port
        self._lanes: list[_Connection] = []

    def fail(self, text: str) -> None:
        if not self.fault.done():
            self.fault.set_exception(Fault(text))

    def close(self) -> None:
        """Drop all connections."""
        self.fault.cancel()
        for lane in self._lanes:
            lane.close()

    async def _open(self, lane: C) -> C:
        await asyncio.get_running_loop().create_connection(lambda: lane, "127.0.0.1", self._port)
        self._lanes.append(lane)
        return lane

    async def get(self, size: int, *, varied: bool = False) -> Lane:
        return await self._open(_Request(self, wire.gets(size, varied=varied, prefix=self.prefix), size))

    async def put(self, size: int, rate: float | None = None) -> Lane:
        return await self._open(_Put(self, size, rate))

    async def echo(self, size: int) -> Lane:
        lane = await self._open(_Echo(self, size))
        await asyncio.wait_for(asyncio.shield(lane.open), _READY_TIMEOUT_S)
        return lane

    async def events(self, seen: Callable[[int], None]) -> Callable[[], None]:
        return (await self._open(_Events(self, seen))).close

    # A splice has no files; the ratio is to the same bytes of a body.
    file_get = get
    file_put = put
