"""A link that is lost is dialled again: calls that wait for it, and jobs that outlive it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Final

import pytest

from pagent.client import AgentClient, connect_agent
from pagent.config.model import ClientSettings, Settings
from pagent.config.router import RouterControl
from pagent.errors import CallTimeoutError, DialError, LinkClosedError, ServerError
from tests.kit import peer as peers
from tests.kit import routers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S, Listener
from tests.kit.routers import router_settings, running_router

#: The id of the first call on a link: the handshake takes one.
FIRST: Final = 2


def lose(client: AgentClient) -> str:
    """Break the link; return its id."""
    lost = client.link.uid
    client.link.link.abort("the test breaks it")
    return lost


async def test_a_lost_link_is_dialled_again_and_jobs_are_kept(client: AgentClient) -> None:
    job = await client.create_job("lingers", linger=60.0)
    await job.start(["sleep", "1000"], port_expected_count=0)
    lost = lose(client)
    assert (await job.info())["state"] == "RUNNING"
    assert client.link.uid != lost
    assert await client.count_jobs() == 1
    async with job.exec([sys.executable, "-c", "print(1)"]) as process:
        assert b"".join([data async for data in process]) == b"1\n"


async def test_calls_under_way_end(client: AgentClient) -> None:
    job = await client.create_job(linger=60.0)
    await job.start(["sleep", "1000"], port_expected_count=0)
    logs = aiter(job.logs(follow=True))
    reading, waiting = asyncio.ensure_future(anext(logs)), asyncio.ensure_future(job.wait())
    await job.info()
    lose(client)
    for call in (reading, waiting):
        with pytest.raises(LinkClosedError, match="the test breaks it"):
            await call
    with pytest.raises(LinkClosedError):
        async with job.exec(["true"]):
            pytest.fail("there is no link")
    assert (await job.info())["state"] == "RUNNING"


async def test_the_uid_and_the_instance_are_kept() -> None:
    async with peers.listen() as listener, connected(listener) as client:
        first = await listener.accepted()
        await first.close()
        again = await listener.accepted()
        before, now = first.hello[2][2], again.hello[2][2]
        assert (now["auth"], now["instance"]) == (before["auth"], before["instance"])
        assert (before.get("replaces"), now["replaces"]) == (None, first.link_id)
        await answer(again, client)


def connected(listener: Listener, **options: float) -> AbstractAsyncContextManager[AgentClient]:
    return connect_agent(f"127.0.0.1:{listener.port}", token=TOKEN, **options)


async def answer(peer: peers.Peer, client: AgentClient) -> None:
    """Answer one call of the client."""
    call = asyncio.ensure_future(client.count_jobs())
    start = await peer.next_of(FIRST)
    await peer.send([7, start[1], b"\x05", 0, None])
    assert await call == 5


async def test_a_call_that_was_refused_is_made_once_more() -> None:
    """Whatever it does: it had not begun."""
    async with peers.listen() as listener, connected(listener) as calling:
        first = await listener.accepted()
        call = asyncio.ensure_future(calling.create_job("job"))
        start = await first.next_of(FIRST)
        refusal = "the peer goes away: the call has not begun"
        await first.send([7, start[1], None, 30, [refusal, None, None, None]])
        await first.close()
        again = await listener.accepted()
        repeated = await again.next_of(FIRST)
        assert repeated[2:] == start[2:]
        await again.send([7, repeated[1], None, 30, [refusal, None, None, None]])
        with pytest.raises(ServerError, match=refusal):
            await call


async def test_a_router_that_ends_refuses_calls_and_the_next_one_takes_them(settings: Settings) -> None:
    async with running_router() as router:
        port, agents = router.control_port, router.server_port
        dialling = ClientSettings(enabled=True, address=f"127.0.0.1:{agents}", token=TOKEN, reconnect_delay=0.1)
        async with (
            running_agent(replace(settings, client=dialling)) as agent,
            connect_agent(f"127.0.0.1:{port}", token=TOKEN) as client,
        ):
            await routers.connected(router, agent.uid)
            job = await client.create_job(linger=60.0)
            router.end(0)
            await router.stop()
            call = asyncio.ensure_future(job.info())
            server = replace(router_settings().server, port=agents)
            again = router_settings(server=server, control=RouterControl(port=port))
            async with running_router(again) as second:
                await routers.connected(second, agent.uid)
                assert (await call)["uid"] == job.uid
                assert await client.count_jobs() == 1


async def test_no_link_comes_in_time() -> None:
    async with AsyncExitStack() as listening:
        listener = await listening.enter_async_context(peers.listen())
        async with connected(listener, redial_s=0.2) as client:
            await listener.accepted()
            await listening.aclose()
            with pytest.raises(LinkClosedError):
                async with asyncio.timeout(PATIENCE_S):
                    await client.count_jobs()


async def test_a_call_waits_for_a_link_no_longer_than_its_time() -> None:
    async with peers.listen() as listener, connected(listener) as calling:
        await (await listener.accepted()).close()
        with pytest.raises(CallTimeoutError, match="no link for job_info within"):
            await calling.link.call("job_info", "x", timeout=0.0)


async def test_a_link_is_not_dialled_again_if_the_caller_does_not_want_it() -> None:
    async with peers.listen() as listener, connected(listener, redial_s=0.0) as client:
        await (await listener.accepted()).close()
        with pytest.raises(LinkClosedError):
            async with asyncio.timeout(PATIENCE_S):
                await client.count_jobs()


async def test_the_first_link_is_not_dialled_again(unused_tcp_port: int) -> None:
    with pytest.raises(DialError):
        async with connect_agent(f"127.0.0.1:{unused_tcp_port}", token=TOKEN):
            pytest.fail("it was connected")
