"""The events and samples of a router are the same at all its listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pagent.config.model import DashboardSettings
from pagent.relay.changes import ChangeKind
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import router_settings, running_router


@asynccontextmanager
async def stream(port: int, *fields: str) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """The id that a stream with samples begins after, and its reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = ["GET /v1/events?samples=1 HTTP/1.1", f"Host: 127.0.0.1:{port}", *fields, "", ""]
    writer.write("\r\n".join(head).encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    found = dict(line.split(": ", 1) for line in answer.split("\r\n")[1:-2])
    yield found["X-Pagent-Event-Id"], reader
    writer.close()


async def until(reader: asyncio.StreamReader, name: str) -> dict[str, str]:
    """The fields of the next event of this name."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = (await reader.readuntil(b"\n\n")).decode()
            fields = dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
            if fields.get("event") == name:
                return fields


async def test_each_listener_has_the_same_ids_and_samples() -> None:
    dashboard = DashboardSettings(enabled=True)
    async with (
        running_router(router_settings(dashboard=dashboard)) as router,
        stream(router.control_port) as (first, control),
        stream(router.dashboard_port) as (second, page),
    ):
        assert first == second
        router.directory.changes.publish(ChangeKind.POOL_REQUEST, "A", data={"job": "x"})
        one, other = await until(control, "pool.request"), await until(page, "pool.request")
        assert one == other
        # One clock takes the samples, so rates are those of a whole second. A slow reader gets the latest sample only.
        times: list[set[float]] = [set(), set()]
        while not times[0] & times[1]:
            for seen, reader in zip(times, (control, page), strict=True):
                seen.add(json.loads((await until(reader, "sample"))["data"])["time"])
        # An id of one listener is good at the other.
        async with stream(router.control_port, f"Last-Event-ID: {second}") as (_, resumed):
            assert (await until(resumed, "pool.request"))["id"] == one["id"]
