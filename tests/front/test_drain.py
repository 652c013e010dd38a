"""The end of a router while requests are under way: docs/router.rst, "Signals"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pagent.errors import NotYetError
from tests.front.test_user import get, post, until
from tests.kit.directory import Front, running_front
from tests.kit.wire import Answer, Wire, wire

UPGRADE = ("Connection: Upgrade", "Upgrade: mine/2")


@asynccontextmanager
async def draining(front: Front, over: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
    """The users' side drains within the block, until ``over``; the task ends when it has."""
    drain = asyncio.ensure_future(front.server.drain(over))
    await asyncio.sleep(0)
    try:
        yield drain
    finally:
        over.set()
        await drain


@pytest.fixture
def over() -> asyncio.Event:
    return asyncio.Event()


def is_last(answer: Answer) -> bool:
    return answer.value("Connection") == "close"


async def asked(front: Front, client: Wire, request: bytes) -> None:
    """Send a request, and wait until it is at the job's agent."""
    assert front.jobs.link is not None
    calls = len(front.jobs.link.connection.outgoing)
    client.say(request)

    async def has() -> bool:
        assert front.jobs.link is not None
        return len(front.jobs.link.connection.outgoing) > calls

    await until(has)


async def release(front: Front, job: str) -> None:
    """Have the job answer its requests for ``/held``."""
    async with wire(front.port) as client:
        assert (await client.ask(get(f"{job}/release"))).status == 200


async def test_requests_under_way_end_and_are_the_last_of_their_connections(
    front: Front, job: str, over: asyncio.Event
) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as busy, wire(ending.port) as late:
        upload = post(f"{job}/length", bytes(1000))
        await asked(ending, busy, get(f"{job}/held"))
        await asked(ending, late, upload[:-1])
        async with draining(ending, over) as drain:
            late.say(upload[-1:])
            await release(front, job)
            for client, body in ((busy, b"held"), (late, b"1000")):
                answer = await client.answer()
                assert (answer.status, answer.body, is_last(answer)) == (200, body, True)
                assert await client.is_closed()
            await drain
            with pytest.raises(ConnectionRefusedError):
                async with wire(ending.port):
                    pass


async def test_an_answer_that_has_begun_is_completed(front: Front, job: str, over: asyncio.Event) -> None:
    size = 30_000_000
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        client.say(get(f"{job}/bytes/{size}"))
        assert (await client.head())[0] == 200
        async with draining(ending, over) as drain:
            assert len(await client.reader.readexactly(size)) == size
            assert await client.is_closed()
            await drain


async def test_idle_connections_and_those_with_a_head(front: Front, job: str, over: asyncio.Event) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as idle, wire(ending.port) as begun:
        assert (await idle.ask(get(f"{job}/hello"))).body == b"hello"
        request = get(f"{job}/hello")
        await begun.ask(request)
        begun.say(request[:9])
        await asyncio.sleep(0.05)
        async with draining(ending, over):
            begun.say(request[9:])
            answer = await begun.answer()
            assert (answer.body, is_last(answer)) == (b"hello", True)
            assert await begun.is_closed()
            assert await idle.is_closed()


async def test_a_request_that_comes_at_once_is_answered(front: Front, job: str, over: asyncio.Event) -> None:
    """It may have been on its way already."""
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        assert (await client.ask(get(f"{job}/hello"))).body == b"hello"
        async with draining(ending, over) as drain:
            answer = await client.ask(get(f"{job}/hello"))
            assert (answer.body, is_last(answer)) == (b"hello", True)
            assert await client.is_closed()
            await drain


@pytest.mark.parametrize("path", ["wait", "slow"])
async def test_requests_without_an_answer_at_the_end_of_the_grace_get_503(
    front: Front, job: str, over: asyncio.Event, path: str
) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        await asked(ending, client, get(f"{job}/{path}"))
        async with draining(ending, over) as drain:
            over.set()
            answer = await client.answer()
            assert (answer.status, answer.value("Retry-After"), is_last(answer)) == (503, "2", True)
            assert answer.body == b"the router ends"
            assert await client.is_closed()
            await drain
        assert front.jobs.link is not None
        assert not front.jobs.link.connection.outgoing


async def test_an_answer_that_takes_longer_than_the_grace_is_cut_off(
    front: Front, job: str, over: asyncio.Event
) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        client.say(get(f"{job}/events"))
        assert (await client.head())[0] == 200
        async with draining(ending, over) as drain:
            over.set()
            assert await client.is_closed()
            await drain


async def test_requests_that_wait_for_a_job_get_503_at_once(front: Front, job: str, over: asyncio.Event) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as client, wire(ending.port) as late:
        front.jobs.error = NotYetError(503, "not yet")
        client.say(get(f"{job}/hello"))
        late.say(get(f"{job}/hello")[:-1])
        await front.jobs.waiting.wait()
        async with draining(ending, over) as drain:
            late.say(b"\n")
            for each in (client, late):
                answer = await each.answer()
                assert (answer.status, answer.value("Retry-After"), is_last(answer)) == (503, "2", True)
                assert await each.is_closed()
            await drain


async def test_upgrades_and_streams_of_events_are_closed_at_once(front: Front, job: str, over: asyncio.Event) -> None:
    events = get(f"{job}/events", "Accept: text/event-stream")
    async with running_front(front.jobs) as ending, wire(ending.port) as tunnel, wire(ending.port) as stream:
        tunnel.say(get(f"{job}/echo", *UPGRADE))
        assert (await tunnel.head())[0] == 101
        assert await tunnel.reader.readexactly(6) == b"first "
        stream.say(events)
        assert (await stream.head())[0] == 200
        async with draining(ending, over) as drain:
            with pytest.raises(ConnectionResetError):  # an end would look like the job's own
                await tunnel.rest()
            assert await stream.is_closed()
            await drain


async def test_requests_sent_ahead_are_not_answered(front: Front, job: str, over: asyncio.Event) -> None:
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        await asked(ending, client, get(f"{job}/held") + get(f"{job}/hello"))
        async with draining(ending, over) as drain:
            await release(front, job)
            answer = await client.answer()
            assert (answer.body, is_last(answer)) == (b"held", True)
            assert await client.is_closed()
            await drain


async def test_after_an_answer_that_had_begun_the_next_request_is_the_last(
    front: Front, job: str, over: asyncio.Event
) -> None:
    """The head of the first did not announce the end of the connection, so the second may be on its way."""
    size = 30_000_000
    async with running_front(front.jobs) as ending, wire(ending.port) as client:
        client.say(get(f"{job}/bytes/{size}") + get(f"{job}/hello"))
        assert (await client.head())[0] == 200
        async with draining(ending, over) as drain:
            assert len(await client.reader.readexactly(size)) == size
            answer = await client.answer()
            assert (answer.body, is_last(answer)) == (b"hello", True)
            assert await client.is_closed()
            await drain
