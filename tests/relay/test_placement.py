from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from pagent.client.link import connect
from pagent.errors import RequestRefusedError
from pagent.relay.placement import select
from pagent.router import Router
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import unary
from tests.kit.agents import TOKEN
from tests.kit.routers import connected
from tests.kit.watched import Watched, known, watched_agent


class Scripted:
    """An agent that says how busy it is."""

    def __init__(self, jobs: Any, host: Any) -> None:
        self._jobs = jobs
        self._host = host

    @unary
    def job_count_current_connection(self, call: IncomingCall) -> Any:
        return self._jobs

    @unary
    def host_info(self, call: IncomingCall) -> Any:
        return self._host


@asynccontextmanager
async def agents(router: Router, **scripts: tuple[Any, Any]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for uid, script in scripts.items():
            address = f"127.0.0.1:{router.server_port}"
            await stack.enter_async_context(connect(address, token=TOKEN, uid=uid, service=Scripted(*script)))
            await connected(router, uid)
        yield


@pytest.mark.parametrize(
    ("a", "b", "chosen"),
    [
        ((1, {"load": 0.0, "cpus": 4}), (2, {"load": 0.0, "cpus": 4}), "a"),
        ((2, {"load": 0.0, "cpus": 4}), (1, {"load": 9.0, "cpus": 4}), "b"),
        ((1, {"load": 3.0, "cpus": 4}), (1, {"load": 2.0, "cpus": 4}), "b"),
        ((1, {"load": 3.0, "cpus": 8}), (1, {"load": 2.0, "cpus": 4}), "a"),
        ((None, None), (50, {"load": 9.0, "cpus": 1}), "b"),
        ((1, {"load": "x", "cpus": 0}), (1, {"load": 0.5, "cpus": 1}), "a"),
    ],
)
async def test_the_least_busy_is_chosen(a: Any, b: Any, chosen: str, router: Router) -> None:
    async with agents(router, a=a, b=b):
        assert (await select(router.directory, ["a", "b", "c"])).uid == chosen


async def test_equals_are_chosen_at_random(router: Router) -> None:
    async with agents(router, a=(1, None), b=(1, None)):
        assert {(await select(router.directory, ["a", "b"])).uid for _ in range(40)} == {"a", "b"}


async def test_none_is_connected(router: Router) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        await select(router.directory, ["a", "b"])
    assert (caught.value.status, str(caught.value)) == (404, "no connected agent with uid 'a' or 'b'")


# --- agents that are watched ------------------------------------------------------------------------


@asynccontextmanager
async def watched(router: Router, **agents: Watched) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for uid, service in agents.items():
            await stack.enter_async_context(watched_agent(router, uid, service))
        yield


IDLE, BUSY = {"load": 0.5, "cpus": 4}, {"load": 3.0, "cpus": 4}


@pytest.mark.parametrize(
    ("a", "b", "chosen"),
    [
        (("1", {}), ("23", {}), "a"),
        (("1", IDLE), ("2", BUSY), "a"),
        (("1", BUSY), ("2", IDLE), "b"),
        (("1", BUSY), ("23", IDLE), "a"),
        (("", {"cordoned": True}), ("23", {}), "b"),
    ],
)
async def test_the_least_busy_is_chosen_without_a_question(
    a: tuple[str, Any], b: tuple[str, Any], chosen: str, router: Router
) -> None:
    agents = {uid: Watched(*jobs, host=host) for uid, (jobs, host) in (("a", a), ("b", b))}
    async with watched(router, **agents):
        assert (await select(router.directory, ["a", "b", "c"])).uid == chosen
        assert [agent.calls for agent in agents.values()] == [[], []]


async def test_a_cordoned_agent_is_chosen_if_all_are(router: Router) -> None:
    async with watched(router, a=Watched(host={"cordoned": True}), b=Watched("1", host={"cordoned": True})):
        assert (await select(router.directory, ["a", "b"])).uid == "a"


async def test_jobs_that_are_being_created_count(router: Router) -> None:
    a, b = Watched(), Watched()
    async with watched(router, a=a, b=b):

        async def create() -> None:
            await router.directory.create(await select(router.directory, ["a", "b"]), "job")

        await asyncio.gather(*(create() for _ in range(10)))
        assert (len(a.jobs), len(b.jobs)) == (5, 5)


async def test_the_choice_follows_the_news(router: Router) -> None:
    a, b = Watched("1"), Watched("2", "3")
    async with watched(router, a=a, b=b):
        for job in "456":
            await a.change(job)
            await known(router, job, "NEW")
        assert (await select(router.directory, ["a", "b"])).uid == "b"
        await b.say({"host": {"cordoned": True}})
        await b.change("7")
        await known(router, "7", "NEW")
        assert (await select(router.directory, ["a", "b"])).uid == "a"
