"""Two connections joined by transports in memory: bytes move when a test says so, in pieces of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pagent.net.link.link import Link
from pagent.rpc.connection import Connection
from pagent.rpc.methods import Method
from pagent.wire import identity


class MemoryTransport(asyncio.Transport):
    """Bytes that a link writes wait in ``out`` until :meth:`move` passes some of them to the other end."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.other: MemoryTransport | None = None
        self.out = bytearray()
        self.reading = True
        self.closing = False
        self._full = False
        self._high, self._low = 1 << 16, 1 << 14
        self._lost = False
        self._eof = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high, self._low = high or 0, low or 0
        self._look()

    def get_write_buffer_size(self) -> int:
        return len(self.out)

    def write(self, data: Any) -> None:
        if not self._lost and not self.closing:
            self.out += data
            self._look()

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True

    def is_closing(self) -> bool:
        return self.closing or self._lost

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        if not self._lost:
            self._lost = True
            self.out.clear()
            asyncio.get_running_loop().call_soon(self.link.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def _look(self) -> None:
        if not self._full and len(self.out) > self._high:
            self._full = True
            self.link.pause_writing()
        elif self._full and len(self.out) <= self._low:
            self._full = False
            self.link.resume_writing()

    def move(self, most: int) -> bool:
        """Pass up to ``most`` bytes, or the end, to the other end; False if there was nothing, or it does not read."""
        other = self.other
        assert other is not None
        if other._lost or (not other.reading and not self._lost):
            if other._lost:
                self.abort()
            return False
        if self.out:
            space = other.link.get_buffer(-1)
            count = min(most, len(self.out), len(space))
            space[:count] = self.out[:count]
            del self.out[:count]
            other.link.buffer_updated(count)
            self._look()
            return True
        if self.closing or self._eof or self._lost:
            other.link.eof_received()
            if self.closing:
                self.abort()
            return True
        return False


class Joined:
    """Two connections, of which one has dialled the other; the handshake is done after ``await joined.settle()``."""

    def __init__(self, methods: Mapping[str, Method], *, flow: bool = True) -> None:
        data = identity.user_data("one", "one", token="t")
        extensions = identity.EXTENSIONS if flow else ()
        self.dialled = Connection(dialled=True, user_data=data, methods=methods, extensions=extensions)
        self.accepted = Connection(dialled=False, user_data=data, methods=methods)
        self.ends = (self.dialled, self.accepted)
        self.transports = tuple(MemoryTransport(end.link) for end in self.ends)
        self.transports[0].other, self.transports[1].other = self.transports[1], self.transports[0]
        for end, transport in zip(self.ends, self.transports, strict=True):
            end.link.connection_made(transport)
        for end in self.ends:
            end.start()

    async def settle(self, most: int = 1 << 20) -> None:
        """Move all bytes until nothing happens any more."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0)
            moved = [transport.move(most) for transport in self.transports]
            quiet = 0 if any(moved) else quiet + 1

    async def close(self) -> None:
        for end in self.ends:
            end.link.abort("the test is over")
        for end in self.ends:
            await end.tasks.close()
        await asyncio.sleep(0)
