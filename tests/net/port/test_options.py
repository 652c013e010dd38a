"""Queries of the socket below a connection."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from pagent.net.port import options


async def test_the_rest_of_a_connection_without_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Received data is kept, and the end of the connection can be reported."""
    here, there = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)
    transport.pause_reading()
    there.sendall(b"rest")
    reads = iter([b"rest"])

    def read(descriptor: int, size: int) -> bytes:
        for piece in reads:
            return piece
        raise MemoryError

    monkeypatch.setattr(os, "read", read)
    assert list(options.read_rest(transport)) == [b"rest"]
    monkeypatch.undo()
    transport.abort()
    there.close()
