"""Creations with a key: all routers choose the same uid and the same agent, and one request creates the job."""

from __future__ import annotations

import asyncio
import gc
from typing import NamedTuple, cast

import pytest

from pagent.errors import RequestRefusedError
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.keyed import REQUEST, KeyLocks, by_rank, check_same, keyed_uid
from pagent.relay.record import JobRecord
from pagent.rpc.directory import Subject


class Agent(NamedTuple):
    uid: str


def test_a_uid_is_of_one_router_one_subject_and_one_key() -> None:
    uids = [
        keyed_uid(*parts) for parts in (("r", Subject("a"), "k"), ("r", Subject("b"), "k"), ("r", Subject("a"), "l"))
    ]
    uids += [keyed_uid("s", Subject("a"), "k"), keyed_uid("r", Subject("ak"), ""), keyed_uid("r", Subject(None), "ak")]
    assert len({*uids}) == len(uids)
    assert all(len(uid) == 32 and int(uid, 16) >= 0 for uid in uids)
    assert keyed_uid("r", Subject("a"), "k") == uids[0]


def test_the_order_of_agents_depends_on_the_job_and_not_on_the_order_of_their_coming() -> None:
    agents = [cast(ConnectedAgent, Agent(str(number))) for number in range(8)]
    orders = [by_rank(uid, agents) for uid in "abcd"]
    assert orders == [by_rank(uid, reversed(agents)) for uid in "abcd"]
    assert len({tuple(agent.uid for agent in order) for order in orders}) > 1
    without = [agent for agent in orders[0] if agent is not orders[0][0]]
    assert by_rank("a", without) == orders[0][1:]


def test_a_key_is_of_one_request() -> None:
    job = JobRecord("f" * 32, AgentKey("agent", None))
    job.labels = {REQUEST: "digest"}
    check_same(job, "digest")
    for labels in ({REQUEST: "other"}, {}):
        job.labels = labels
        with pytest.raises(RequestRefusedError, match="was created with this key by another request") as caught:
            check_same(job, "digest")
        assert caught.value.status == 409


async def test_one_request_at_a_time_creates_a_job() -> None:
    locks, running, most = KeyLocks(), 0, 0

    async def create(uid: str) -> None:
        nonlocal running, most
        async with locks.of(uid):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(create("a") for _ in range(4)))
    assert most == 1
    await asyncio.gather(create("a"), create("b"))
    assert most == 2


async def test_a_lock_is_kept_as_long_as_it_is_used() -> None:
    locks = KeyLocks()
    lock = locks.of("a")
    assert locks.of("a") is lock
    assert locks.of("b") is not lock
    await lock.__aenter__()
    gc.collect()
    assert cast(asyncio.Lock, locks.of("a")).locked()
    await lock.__aexit__(None, None, None)
