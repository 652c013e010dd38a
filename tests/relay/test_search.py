from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pagent.errors import LinkClosedError
from pagent.relay.agent import AgentKey
from pagent.relay.changes import ChangeFeed
from pagent.relay.jobs import JobTable
from pagent.relay.search import JobSearch
from pagent.relay.table import AgentTable
from pagent.runtime.tasks import TaskOwner
from tests.kit.peer import PATIENCE_S


class Asked(SimpleNamespace):
    """An agent that answers ``job_info``. While ``answers`` is not set, it does not answer."""

    def __init__(self, uid: str, *jobs: str, **state: bool) -> None:
        flags = {"is_ours": True, "retiring": False, "is_watched": False, "is_open": True, **state}
        super().__init__(uid=uid, key=AgentKey(uid, None), jobs=jobs, calls=[], asked=asyncio.Event(), **flags)
        self.answers = asyncio.Event()
        self.answers.set()

    async def call(self, method: str, job_uid: str, *, timeout: float) -> Any:
        self.calls.append(job_uid)
        self.asked.set()
        await self.answers.wait()
        if job_uid not in self.jobs:
            raise LinkClosedError
        return {"uid": job_uid}


class Searched:
    def __init__(self) -> None:
        self.agents: list[Asked] = []
        self.tasks = TaskOwner("search")
        self.jobs = JobTable(ChangeFeed(), lambda key: None, lambda known, claimant, info: None)
        self.search = JobSearch(cast(AgentTable, self.agents), self.jobs, self.tasks)


@pytest.fixture
async def searched() -> AsyncIterator[Searched]:
    found = Searched()
    yield found
    await found.tasks.close()


async def found_by(searched: Searched) -> str | None:
    """Return the uid of the agent that has the job."""
    agent = await searched.search.agent_of("j")
    return None if agent is None else agent.uid


async def test_no_agent_is_asked_that_tells_its_jobs_by_itself(searched: Searched) -> None:
    searched.agents += [
        Asked("watched", "j", is_watched=True),
        Asked("foreign", "j", is_ours=False),
        Asked("retiring", "j", retiring=True),
    ]
    assert searched.search.unwatched() == []
    assert await searched.search.agent_of("j") is None
    assert [agent.calls for agent in searched.agents] == [[], [], []]


async def test_the_agent_that_has_the_job_among_many(searched: Searched) -> None:
    searched.agents += [Asked(f"a{number}") for number in range(120)]
    searched.agents[77].jobs = ("j",)
    assert await found_by(searched) == "a77"
    assert searched.jobs.agent_of("j") == AgentKey("a77", None)
    assert [len(agent.calls) for agent in searched.agents] == [1] * 100 + [0] * 20


async def test_an_agent_that_is_gone_by_its_answer_does_not_count(searched: Searched) -> None:
    searched.agents += [Asked("gone", "j", is_open=False), Asked("there", "j")]
    assert await found_by(searched) == "there"


async def test_requests_at_one_time_share_the_answer_and_later_ones_ask_again(searched: Searched) -> None:
    agent = Asked("A")
    agent.answers.clear()
    searched.agents.append(agent)
    requests = [asyncio.ensure_future(searched.search.agent_of("j")) for _ in range(5)]
    async with asyncio.timeout(PATIENCE_S):
        await agent.asked.wait()
    requests[0].cancel()
    agent.answers.set()
    assert await asyncio.gather(*requests[1:]) == [None] * 4
    assert agent.calls == ["j"]
    assert await searched.search.agent_of("j") is None
    assert agent.calls == ["j", "j"]
