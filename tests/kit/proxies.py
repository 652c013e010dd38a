"""Proxies: a strict HTTP proxy that knows CONNECT only, and one whose connections can be cut."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

_REQUEST: Final = re.compile(r"CONNECT ([\w.-]+|\[[0-9a-f:]+\]):(\d+) HTTP/1\.1")


class ConnectProxy:
    """``tunnels``: the requested authorities. ``answer``: is sent instead of opening a tunnel."""

    def __init__(self, credentials: str | None, answer: bytes | None) -> None:
        self.port = 0
        self.tunnels: list[str] = []
        self._wanted = None if credentials is None else f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")[:-2]
            fields = dict(line.split(": ", 1) for line in lines)
            found = _REQUEST.fullmatch(first)
            if found is None or fields.get("Host") != f"{found[1]}:{found[2]}":
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            elif self._answer is not None:
                writer.write(self._answer)
            elif fields.get("Proxy-Authorization") != self._wanted:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
            else:
                self.tunnels.append(fields["Host"])
                await self._tunnel(reader, writer, found[1].strip("[]"), int(found[2]))
        writer.close()

    @staticmethod
    async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nX-Via: test\r\n\r\n")
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def connect_proxy(*, credentials: str | None = None, answer: bytes | None = None) -> AsyncIterator[ConnectProxy]:
    """Yield a proxy that asks for these credentials, ``user:password``."""
    proxy = ConnectProxy(credentials, answer)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy


class CuttableProxy:
    """Carries connections to a port of the loopback until they are cut."""

    def __init__(self, port: int) -> None:
        self.port = 0
        #: Where new connections lead; 0: they are closed at once.
        self.target = port
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        pair = {writer, there_writer}
        self._writers |= pair
        with suppress(ConnectionError):
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        self._writers -= pair

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def cuttable_proxy(port: int) -> AsyncIterator[CuttableProxy]:
    """Yield a proxy to a port of the loopback."""
    proxy = CuttableProxy(port)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
        server.close()
        proxy.cut()
