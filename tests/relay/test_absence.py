from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pagent.relay.absence import AbsentAgents
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.changes import ChangeFeed, ChangeKind
from pagent.relay.jobs import JobTable
from tests.kit.peer import PATIENCE_S
from tests.kit.stepped import SteppedLoop

#: Longer than any test.
FOR_EVER_S = 1e5


class Parts:
    """The table of jobs, and what keeps those of absent agents. ``removed`` is set when a job is forgotten."""

    def __init__(self) -> None:
        feed = ChangeFeed()
        self.removed = asyncio.Event()
        feed.subscribe(lambda change: self.removed.set() if change.kind is ChangeKind.JOB_REMOVED else None)
        self.jobs = JobTable(feed, lambda key: None, lambda known, claimant, info: None)
        self.absent = AbsentAgents(self.jobs)

    def with_job(self, agent: ConnectedAgent, uid: str = "j", linger: float | None = None) -> None:
        self.absent.came(agent)
        self.jobs.update(agent.key, {"uid": uid, "linger": linger})


def agent(
    *, token: object = "t", dialled: bool = False, linger: float = 0.0, has_ended: bool = False
) -> ConnectedAgent:
    found = SimpleNamespace(
        uid="A",
        key=AgentKey("A", ("address", "t") if dialled else None),
        dialled=dialled,
        connection=SimpleNamespace(realm=token),
        linger=linger,
        has_ended=has_ended,
    )
    return cast(ConnectedAgent, found)


@pytest.fixture
async def parts() -> Parts:
    return Parts()


async def test_the_jobs_of_an_agent_without_a_linger_are_forgotten_at_once(parts: Parts) -> None:
    one = agent()
    parts.with_job(one)
    parts.absent.left(one)
    assert parts.jobs.get("j") is None
    assert parts.absent.may_come("A", "another")


async def test_an_agent_that_has_said_that_it_ends_is_forgotten_at_once(parts: Parts) -> None:
    one = agent(linger=FOR_EVER_S, has_ended=True)
    parts.with_job(one)
    parts.absent.left(one)
    assert parts.jobs.get("j") is None


async def test_a_uid_belongs_to_its_token_while_a_job_lingers(parts: Parts) -> None:
    one = agent(linger=FOR_EVER_S)
    parts.with_job(one)
    parts.absent.left(one)
    assert parts.jobs.get("j") is not None
    assert parts.absent.may_come("A", "t")
    assert not parts.absent.may_come("A", "another")
    assert parts.absent.may_come("B", "another")
    parts.absent.close()


async def test_a_token_that_is_not_accepted_any_more_lets_the_uid_go(parts: Parts) -> None:
    parts.absent.came(agent())
    parts.absent.keep_tokens(["t", "other"])
    assert not parts.absent.may_come("A", "other")
    parts.absent.keep_tokens(["other"])
    assert parts.absent.may_come("A", "other")


@pytest.mark.parametrize("token", [None, b"t", 1])
async def test_a_realm_that_is_no_token_and_an_agent_that_was_dialled_bind_no_uid(parts: Parts, token: object) -> None:
    parts.absent.came(agent(token=token))
    parts.absent.came(agent(dialled=True))
    assert parts.absent.may_come("A", "another")


async def test_the_jobs_are_forgotten_once_their_time_is_over(parts: Parts) -> None:
    one = agent(linger=0.001)
    parts.with_job(one)
    parts.absent.left(one)
    async with asyncio.timeout(PATIENCE_S):
        await parts.removed.wait()
    assert parts.jobs.count(one.key) == 0


async def test_each_job_is_forgotten_after_its_own_linger(parts: Parts) -> None:
    one = agent(linger=FOR_EVER_S)
    parts.with_job(one, "none", 0.0)
    parts.with_job(one, "short", 0.05)
    parts.with_job(one, "long", FOR_EVER_S)
    parts.with_job(one, "unsaid")
    parts.absent.left(one)
    assert {job.uid for job in parts.jobs.of(one.key)} == {"short", "long", "unsaid"}
    parts.removed.clear()
    async with asyncio.timeout(PATIENCE_S):
        await parts.removed.wait()
    assert {job.uid for job in parts.jobs.of(one.key)} == {"long", "unsaid"}
    assert not parts.absent.may_come("A", "another")
    parts.absent.close()


@pytest.mark.parametrize("said", [-1, "long", True, float("inf"), float("nan"), None])
async def test_a_linger_that_is_none_counts_as_unsaid(parts: Parts, said: Any) -> None:
    one = agent(linger=FOR_EVER_S)
    parts.with_job(one, linger=said)
    parts.absent.left(one)
    assert parts.jobs.count(one.key) == 1
    parts.absent.close()


async def test_an_agent_that_comes_back_keeps_its_jobs(parts: Parts) -> None:
    one = agent(linger=0.0)
    parts.with_job(one, linger=0.03)
    parts.absent.left(one)
    parts.absent.came(one)
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.06, later.set)  # after the timer, if that still ran
    await later.wait()
    assert parts.jobs.count(one.key) == 1


async def test_only_the_jobs_of_one_direction_are_forgotten(parts: Parts) -> None:
    came, dialled = agent(), agent(dialled=True)
    parts.with_job(came, "c")
    parts.with_job(dialled, "d")
    parts.absent.left(dialled)
    assert parts.jobs.get("d") is None
    assert parts.jobs.get("c") is not None
    assert not parts.absent.may_come("A", "another")


def test_each_absence_of_an_agent_counts_from_its_own_beginning() -> None:
    with closing(SteppedLoop()) as loop:

        async def made() -> Parts:
            return Parts()

        async def leave() -> None:
            parts.absent.left(one)

        parts = loop.run_until_complete(made())
        one = agent()
        for uid, linger in (("short", 2.0), ("long", 5.0)):
            parts.with_job(one, uid, linger)
        for _ in range(2):  # it comes back just before the linger of the first job
            loop.run_until_complete(leave())
            loop.pass_time(1.9)
            parts.absent.came(one)
            loop.pass_time(0.5)
            assert parts.jobs.count(one.key) == 2
        loop.run_until_complete(leave())
        loop.pass_time(2.1)  # and just after it, with another job
        parts.with_job(one, "late", 1.0)
        assert {job.uid for job in parts.jobs.of(one.key)} == {"long", "late"}
        loop.run_until_complete(leave())
        loop.pass_time(1.1)
        assert {job.uid for job in parts.jobs.of(one.key)} == {"long"}
        loop.pass_time(4.0)
        assert parts.jobs.count(one.key) == 0
        assert parts.absent.may_come("A", "another")
