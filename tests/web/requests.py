"""Send one HTTP request with a given head."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from tests.kit.peer import PATIENCE_S


class Answer(NamedTuple):
    """Field names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    port: int, method: str, target: str, fields: Mapping[str, bytes | str] | None = None, *, host: str | None = None
) -> Answer:
    """Send a request on a new connection. ``host``: another Host field than the right one; empty for none."""
    given = {"Host": f"127.0.0.1:{port}" if host is None else host, **(fields or {}), "Connection": "close"}
    lines = [f"{method} {target} HTTP/1.1".encode()]
    for name, value in given.items():
        if name != "Host" or value:
            lines.append(name.encode() + b": " + (value.encode() if isinstance(value, str) else value))
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"\r\n".join([*lines, b"", b""]))
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read()
        finally:
            writer.close()
    first, *rest = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), headers, body)
