"""A client of HTTP that sends any bytes and reads the answer, and a parser of answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.kit.peer import PATIENCE_S


class Answer(NamedTuple):
    """``fields`` are those of the head, in order; ``body`` is without its chunks, ``trailers`` the lines after them."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    trailers: list[str]

    def value(self, name: str) -> str | None:
        """The value of a field; AssertionError if there is more than one of it."""
        values = [value for given, value in self.fields if given.lower() == name.lower()]
        assert len(values) < 2, values
        return values[0] if values else None


class Wire:
    """One connection to a port of the loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        """The next head: its status and its fields."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        start, *lines = head[:-4].split("\r\n")
        assert start.startswith("HTTP/1.1 "), start
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return int(start.split(" ")[1]), fields

    async def answer(self, *, head_request: bool = False) -> Answer:
        """The next final answer."""
        while True:
            status, fields = await self.head()
            if status >= 200:
                break
        values = {name.lower(): value for name, value in fields}
        body, trailers = b"", []
        async with asyncio.timeout(PATIENCE_S):
            if head_request or status in (204, 304):
                pass
            elif values.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    assert await self.reader.readexactly(2) == b"\r\n"
                while (line := await self.reader.readline()) != b"\r\n":
                    trailers.append(line.decode().strip())
            elif "content-length" in values:
                body = await self.reader.readexactly(int(values["content-length"]))
            else:
                body = await self.reader.read()
        return Answer(status, fields, body, trailers)

    async def ask(self, data: bytes) -> Answer:
        """Say a request; its answer."""
        self.say(data)
        return await self.answer(head_request=data.startswith(b"HEAD "))

    async def rest(self) -> bytes:
        """All that comes up to the end; ConnectionResetError if there is none."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def is_closed(self) -> bool:
        """Whether the other end ends the connection now, with nothing more to say."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    def end(self) -> None:
        """End this direction only."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Drop the connection, so that the other end reads a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def wire(port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A connection, closed after the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
