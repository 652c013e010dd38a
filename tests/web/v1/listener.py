"""A reader of the events of a router, which holds each of them to the file openapi.json."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from openapi_schema_validator import OAS31Validator

from tests.kit.peer import PATIENCE_S
from tests.web.v1.portal import document

_SCHEMAS: Final = {"agent": "Agent", "job": "Job", "pool": "PoolRequest"}


@dataclass(frozen=True)
class Event:
    """One event."""

    id: str
    name: str
    data: Any


class Listener:
    """One stream of events. ``status`` and ``fields`` are those of the answer; names of fields in small letters."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._text = b""
        self.status = 0
        self.fields: dict[str, str] = {}
        self.comments = 0

    async def read_head(self) -> None:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        self.status = int(lines[0].split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    async def next(self) -> Event:
        """Return the next event; EOFError at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            while b"\n\n" not in self._text:
                self._text += await self._chunk()
        block, _, self._text = self._text.partition(b"\n\n")
        return self._event(block.decode())

    async def until(self, name: str) -> Event:
        """Return the next event of this name."""
        while (event := await self.next()).name != name:
            pass
        return event

    async def comment(self) -> None:
        """Wait for a comment."""
        async with asyncio.timeout(PATIENCE_S):
            while b":\n" not in self._text:
                self._text += await self._chunk()

    async def rest(self) -> bytes:
        """Return the bytes up to the end of the connection."""
        return await self._reader.read()

    async def _chunk(self) -> bytes:
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        data = await self._reader.readexactly(size)
        await self._reader.readexactly(2)
        if not size:
            raise EOFError
        return data

    def _event(self, block: str) -> Event:
        found: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            else:
                assert name not in found
                found[name] = value
        assert found.keys() == {"id", "event", "data"}
        event = Event(found["id"], found["event"], json.loads(found["data"]))
        if (schema := _SCHEMAS.get(event.name.partition(".")[0])) is not None:
            components = document()["components"]
            OAS31Validator({"$ref": f"#/components/schemas/{schema}", "components": components}).validate(event.data)
        return event


@asynccontextmanager
async def listening(
    port: int, query: str = "", token: str | None = None, fields: Iterable[tuple[str, str]] = (), method: str = "GET"
) -> AsyncIterator[Listener]:
    """A stream of events."""
    fields = [*fields, ("Host", f"127.0.0.1:{port}")]
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    writer.write(f"{method} /v1/events{query} HTTP/1.1\r\n{head}\r\n".encode())
    listener = Listener(reader, writer)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await listener.read_head()
        yield listener
    finally:
        writer.close()
