"""The output of a job over /v1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pagent.config.model import Settings
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, running_router
from tests.web.v1.data import Data, data_site
from tests.web.v1.portal import Portal


@pytest.fixture
async def data(settings: Settings) -> AsyncIterator[Data]:
    async with data_site(settings) as made:
        yield made


async def test_what_there_is_and_the_offset_of_the_next_read(data: Data) -> None:
    empty = await data.portal.ask("GET", f"{data.job}/logs")
    assert (empty.status, empty.body, empty["X-Pagent-Offset"]) == (200, b"", "0")
    await data.start("echo out; echo '<script>' >&2")
    await data.portal.get(f"{data.job}/wait")
    out = await data.portal.ask("GET", f"{data.job}/logs")
    assert (out.body, out["X-Pagent-Start"], out["X-Pagent-Offset"]) == (b"out\n", "0", "4")
    assert out["Content-Type"] == "text/plain; charset=utf-8"
    assert out["X-Content-Type-Options"] == "nosniff"
    rest = await data.portal.ask("GET", f"{data.job}/logs?offset=2")
    assert (rest.body, rest["X-Pagent-Start"], rest["X-Pagent-Offset"]) == (b"t\n", "2", "4")
    assert (await data.portal.ask("GET", f"{data.job}/logs?offset=4")).body == b""
    assert (await data.portal.ask("GET", f"{data.job}/logs?stream=stderr")).body == b"<script>\n"
    assert (await data.portal.ask("GET", f"{data.job}/logs?since=2023-11-14T22:13:20Z")).body == out.body
    assert (await data.portal.ask("GET", f"{data.job}/logs?since=2123-11-14T22:13:20%2B01:00")).body == b""
    head = await data.portal.ask("HEAD", f"{data.job}/logs?follow=1")
    assert (head.status, head.body, head["X-Pagent-Offset"]) == (200, b"", "4")


@pytest.mark.parametrize(
    "query", ["stream=both", "offset=-1", "offset=x", "follow=2", "offset=" + "9" * 30, "tail=1", "since=10m"]
)
async def test_queries_that_are_refused(data: Data, query: str) -> None:
    assert (await data.portal.ask("GET", f"{data.job}/logs?{query}")).status == 400


async def test_follow_ends_with_the_job(data: Data) -> None:
    following = asyncio.create_task(data.portal.ask("GET", f"{data.job}/logs?follow=1"))
    await data.start("echo first; sleep 0.1; echo second")
    answer = await following
    assert (answer.status, answer.body) == (200, b"first\nsecond\n")
    assert answer["X-Pagent-Offset"] is None


@pytest.mark.parametrize("half", [False, True])
async def test_a_client_that_goes_away_ends_the_call(data: Data, half: bool) -> None:
    await data.start("echo first; exec sleep 600")
    reader, writer = await asyncio.open_connection("127.0.0.1", data.portal.port)
    head = f"GET {data.job}/logs?follow=1 HTTP/1.1\r\nHost: 127.0.0.1:{data.portal.port}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"first\n")
        (link,) = data.router.directory.table
        assert link.has_calls
        if half:
            writer.write_eof()
        else:
            writer.close()
        await link.calls_ended()
    writer.close()


async def test_a_broken_link_cuts_a_followed_output(data: Data) -> None:
    await data.start("echo first; exec sleep 600")
    reader, writer = await asyncio.open_connection("127.0.0.1", data.portal.port)
    head = f"GET {data.job}/logs?follow=1 HTTP/1.1\r\nHost: 127.0.0.1:{data.portal.port}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"first\n")
        (link,) = data.router.directory.table
        link.connection.link.abort("the test breaks it")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def test_agents_of_the_field_have_no_logs() -> None:
    async with running_router() as router, field_agent("F", router.server_port, TOKEN):
        link = await connected(router, "F")
        uid = (await router.directory.create(link, "job"))["uid"]
        assert (await Portal(router.control_port).ask("GET", f"/v1/jobs/{uid}/logs?follow=1")).status == 501
