from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import pytest

from pagent.client.link import connect
from pagent.errors import RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.host import HostReport
from pagent.relay.placement import choose, select
from pagent.router import Router
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import unary
from pagent.rpc.new_job import AgentChoice
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


# --- agents that meet conditions --------------------------------------------------------------------


def order_of(agents: list[ConnectedAgent]) -> str:
    return "".join(agent.uid for agent in agents)


async def chosen(router: Router, order: str = "fewest-jobs", **labels: str) -> str:
    choice = AgentChoice(order=order)
    return order_of(await choose(router.directory, choice, lambda agent: True, like=lambda others: others == labels))


@pytest.mark.parametrize(
    ("order", "a", "b", "expected"),
    [
        ("fewest-jobs", ("12", IDLE), ("3", BUSY), "ba"),
        ("fewest-jobs", ("1", BUSY), ("3", IDLE), "ba"),
        ("least-load", ("12", IDLE), ("3", BUSY), "ab"),
        ("least-load", ("12", IDLE), ("3", IDLE), "ba"),
        ("spread", ("12", IDLE), ("3", BUSY), "ba"),
    ],
)
async def test_the_orders(order: str, a: tuple[str, Any], b: tuple[str, Any], expected: str, router: Router) -> None:
    async with watched(router, a=Watched(*a[0], host=a[1]), b=Watched(*b[0], host=b[1])):
        assert await chosen(router, order) == expected


async def test_jobs_are_spread_by_their_labels(router: Router) -> None:
    a, b = Watched("1", "2", "3"), Watched("4")
    b.jobs["4"]["labels"] = {"team": "x"}
    async with watched(router, a=a, b=b):
        assert await chosen(router, "spread", team="x") == "ab"
        assert await chosen(router, "fewest-jobs", team="x") == "ba"


@pytest.mark.parametrize(
    ("host", "is_full"),
    [
        ({"cordoned": True}, True),
        ({"memory_total": 100, "memory_available": 4}, True),
        ({"memory_total": 100, "memory_available": 5}, False),
        ({"memory_total": 100}, False),
        ({"memory_available": 0}, False),
        ({"disk_total": 100, "disk_free": 1}, True),
        ({"disk_total": 100, "disk_free": 2}, False),
        ({"jobs_max": 1, "jobs": 1}, True),
        ({"jobs_max": 2, "jobs": 1}, False),
        ({"jobs_max": 2, "jobs": 2}, True),  # one of them is of another router
    ],
)
async def test_full_and_cordoned_hosts_are_not_chosen(host: dict[str, Any], is_full: bool, router: Router) -> None:
    async with watched(router, a=Watched("1", host=host)):
        if not is_full:
            assert await chosen(router) == "a"
            return
        with pytest.raises(RequestRefusedError, match="no agent has room") as caught:
            await chosen(router)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 5)


async def test_all_with_room_are_chosen_in_order(router: Router) -> None:
    """Random hosts, held against the words of the documentation."""
    uids, random = "abcd", Random(1)
    async with watched(
        router, **{uid: Watched(*(f"{uid}{number}" for number in range(at))) for at, uid in enumerate(uids)}
    ):
        for _ in range(100):
            hosts = {}
            for uid in uids:
                agent = router.directory.table.agent(uid)
                assert agent is not None
                hosts[uid] = agent.host = HostReport(
                    cpus=random.choice([1, 2]),
                    load=random.choice([0.0, 1.0, 2.0]),
                    memory_total=100,
                    memory_available=random.choice([3, 50]),
                    disk_total=100,
                    disk_free=random.choice([1, 50, 50]),
                    cordoned=random.random() < 0.2,
                    jobs_max=random.choice([None, 1, 2, 9]),
                )
            room = [
                uid
                for at, uid in enumerate(uids)
                if not hosts[uid].cordoned
                and (hosts[uid].memory_available, hosts[uid].disk_free) == (50, 50)
                and at < (hosts[uid].jobs_max or 99)
            ]
            if not room:
                with pytest.raises(RequestRefusedError):
                    await chosen(router)
                continue
            assert await chosen(router, "fewest-jobs") == await chosen(router, "spread") == "".join(room)
            loads = [hosts[uid].load_per_cpu for uid in await chosen(router, "least-load")]
            assert loads == sorted(hosts[uid].load_per_cpu for uid in room)
