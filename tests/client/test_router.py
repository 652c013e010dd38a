"""The client of a router's API, with a router and an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from pagent.client import PortalClient, RouterEvent, connect_router
from pagent.config.model import Settings
from pagent.config.router import Access, RouterControl
from pagent.errors import ApiError, ConfigError, DialError
from pagent.router import Router
from tests.access.conftest import TOKENS
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import router_settings, running_router
from tests.web.v1.portal import site

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def url(router: Router) -> str:
    return f"http://127.0.0.1:{router.control_port}"


async def next_of(events: AsyncIterator[RouterEvent], name: str) -> RouterEvent:
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if event.name == name:
                return event
    raise AssertionError("the stream has ended")


async def test_a_job_with_a_key_is_created_once(settings: Settings) -> None:
    async with site(settings) as (router, _), connect_router(url(router)) as client:
        start = {"args": ["true"], "port_expected_count": 0}
        first = await client.create("a job", key="order 1", start=start)
        again = await client.create("a job", key="order 1", start=start)
        assert first["uid"] == again["uid"]
        assert (await client.wait(first["uid"]))["state"] == "FINISHED"
        pages = await client.call("GET", "/jobs", query={"state": "FINISHED", "limit": "1"})
        assert [job["uid"] for job in pages["jobs"]] == [first["uid"]]
        assert await client.call("DELETE", f"/jobs/{first['uid']}") is None


async def test_a_wait_ends_with_its_timeout(settings: Settings) -> None:
    async with site(settings) as (router, _), connect_router(url(router)) as client:
        job = await client.create(start={"args": ["sleep", "60"], "port_expected_count": 0})
        assert (await client.wait(job["uid"], 0.05))["state"] == "RUNNING"


async def test_problems_are_errors() -> None:
    async with running_router(router_settings(access=Access(tokens=TOKENS))) as router:
        async with connect_router(url(router), "secret-reader") as client:
            with pytest.raises(ApiError, match="404") as caught:
                await client.call("GET", "/jobs/unknown")
            assert caught.value.request_id
            with pytest.raises(ApiError, match="403"):
                await client.create()
        async with connect_router(url(router), "wrong") as client:
            with pytest.raises(ApiError, match="401"):
                await client.events().__anext__()


async def test_events_continue_after_an_id(settings: Settings) -> None:
    async with site(settings) as (router, _), connect_router(url(router)) as client:
        waiting, created = asyncio.ensure_future(_first(client)), list[str]()
        while not waiting.done():
            created.append((await client.create())["uid"])
            await asyncio.wait([waiting], timeout=0.05)
        seen = await waiting
        assert seen.data["uid"] in created
        missed = await client.create()
        async with aclosing(client.events(seen.id)) as others:
            while (await next_of(others, "job.created")).data["uid"] != missed["uid"]:
                pass


async def _first(client: PortalClient) -> RouterEvent:
    async with aclosing(client.events()) as events:
        return await next_of(events, "job.created")


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    """A server that answers each connection as a test says; its URL."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_lost_stream_is_opened_again_with_the_last_id() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/v1/events" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        else:
            heads.append(head)
            if len(heads) == 2:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nX-Pagent-Event-Id: a-1\r\nTransfer-Encoding: chunked\r\n\r\n")
                if len(heads) > 2:
                    data = b"id: b-7\nevent: reset\ndata: {}\n\n"
                    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
        writer.close()

    async with served(answer) as where, connect_router(where) as client, aclosing(client.events()) as events:
        assert await next_of(events, "reset") == RouterEvent("b-7", "reset", {})
        assert await next_of(events, "reset") == RouterEvent("b-7", "reset", {})
    assert b"Last-Event-ID" not in heads[0]
    assert [b"Last-Event-ID: a-1\r\n" in head for head in heads[1:3]] == [True, True]
    assert b"Last-Event-ID: b-7\r\n" in heads[3]


async def test_a_request_that_may_be_repeated_is() -> None:
    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await reader.readuntil(b"\r\n\r\n")
        count += 1
        if count in (1, 4, 6):
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"uid":"u"}')
        elif count in (3, 5):
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with served(answer) as where, connect_router(where) as client:
        assert await client.create(key="k") == {"uid": "u"}
        assert count == 4
        with pytest.raises(ApiError, match="503"):
            await client.create()
        assert count == 5


async def test_a_router_that_cannot_be_reached() -> None:
    async with running_router(router_settings(control=RouterControl())) as router:
        gone = url(router)
    with pytest.raises(DialError):
        async with connect_router(gone):
            pass


@pytest.mark.parametrize("text", ["", "host:1", "ftp://host", "http://", "http://h:x", "http://u:p@h", "http://h/?x=1"])
async def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        async with connect_router(text):
            pass
