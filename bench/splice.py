"""The reference: ``python -m bench.splice PORT``, an L4 splice on uvloop. It prints the port that it listens on.

Two Protocols, of which each passes bytes, pause and end to the other: the least cost of one hop in Python.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop


class _End(asyncio.Protocol):
    """One side; ``far`` is the transport of the opposite one."""

    transport: asyncio.Transport
    far: asyncio.Transport

    def __init__(self, other: _End | None = None) -> None:
        self._other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Nagle's algorithm is off: uvloop disables it for connections that it accepts or makes.
        if self._other is not None:
            self.far, self._other.far = self._other.transport, self.transport

    def data_received(self, data: bytes) -> None:
        self.far.write(data)

    def pause_writing(self) -> None:
        self.far.pause_reading()

    def resume_writing(self) -> None:
        self.far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.far.close()


async def _join(near: socket.socket, port: int) -> None:
    """Connect the far side first: on uvloop a server's connection is read before ``connection_made`` can pause it."""
    loop = asyncio.get_running_loop()
    try:
        _, far = await loop.create_connection(_End, "127.0.0.1", port)
    except OSError:
        near.close()
        return
    await loop.connect_accepted_socket(lambda: _End(far), near)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    tasks = set()
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.setblocking(False)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            near, _ = await loop.sock_accept(listener)
            task = loop.create_task(_join(near, port))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
