"""Floods of a router that has few descriptors: clients that send nothing, a part of a request, or no end of it.

docs/router.rst, "Requests". The router is a process of its own, and its limit is a real one.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from tests.kit.agents import AgentProcess, router_process
from tests.kit.peer import PATIENCE_S
from tests.kit.wire import Wire, wire

DESCRIPTORS = 64
FLOOD = 200
#: A request that is answered on a connection that is kept: there is no such job.
KEPT = f"GET /jobs/-/{'0' * 32}/http/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

#: A request to the API, which answers 100 when it waits for the body.
UNFINISHED = b"POST /jobs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"


@pytest.fixture
async def router() -> AsyncIterator[AgentProcess]:
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    async with router_process("--set", "ready_wait=0", preexec_fn=limit) as process:
        yield process


async def is_answered(client: Wire) -> bool:
    return (await client.ask(KEPT)).status == 404


@asynccontextmanager
async def flood(router: AgentProcess, sent: bytes) -> AsyncIterator[None]:
    """Many connections, each of which has sent something."""
    async with AsyncExitStack() as stack:
        for _ in range(FLOOD):
            client = await stack.enter_async_context(wire(router.ports["control"]))
            client.say(sent)
        yield


@pytest.mark.parametrize("sent", [b"", b"GET /info HTTP/1.1\r\nHost:"], ids=["nothing", "a part of a head"])
async def test_a_client_keeps_its_connection(router: AgentProcess, sent: bytes) -> None:
    async with wire(router.ports["control"]) as honest:
        assert await is_answered(honest)
        before = len(router.log)
        async with flood(router, sent), wire(router.ports["control"]) as late:
            assert await is_answered(honest)
            assert await is_answered(late)
        assert await is_answered(honest)
        assert len(router.log) == before


async def test_requests_to_the_api_that_do_not_end(router: AgentProcess) -> None:
    """They are connections as well, and leave descriptors for the links of agents."""
    taken = 0
    async with AsyncExitStack() as stack:
        while await is_taken(await stack.enter_async_context(wire(router.ports["control"]))):
            taken += 1
        assert taken == DESCRIPTORS // 2
        assert len(os.listdir(f"/proc/{router.process.pid}/fd")) < DESCRIPTORS - 8
        await router.says(f"connection refused: {taken} connections of users are open")
    async with asyncio.timeout(PATIENCE_S):
        while not await serves(router):  # noqa: ASYNC110 - it has to notice the end of the others
            await asyncio.sleep(0.02)


async def is_taken(client: Wire) -> bool:
    """Begin a request to the API, and return whether the router waits for its body."""
    client.say(UNFINISHED)
    try:
        return (await client.head())[0] == 100
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def serves(router: AgentProcess) -> bool:
    """Return whether a new connection is answered."""
    try:
        async with wire(router.ports["control"]) as client:
            return await is_answered(client)
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
