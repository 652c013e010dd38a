"""The jobs of all agents in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pagent.errors import JobNotFoundError
from pagent.relay.listing import JobLister
from pagent.router import Router
from pagent.rpc.calls import IncomingCall
from pagent.rpc.directory import JobFacts
from pagent.rpc.methods import unary
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.routers import connected
from tests.kit.watched import Watched, watched_agent


class Remembering(Watched):
    """An agent of jobs that exist and of jobs that have ended: uids, the one that was created first in front."""

    def __init__(self, jobs: str, ended: str) -> None:
        super().__init__(*jobs)
        for uid, info in self.jobs.items():
            info["created_at"] = float(ord(uid))
        self.ended = [{"uid": uid, "created_at": float(ord(uid)), "labels": {"end": uid}} for uid in ended]

    @unary
    def job_list(self, call: IncomingCall, after: str | None = None, limit: int = 1000, ended: bool = False) -> Any:
        self.calls.append("job_list")
        assert ended
        return [info for info in self.ended if after is None or info["uid"] > after][:2]


@pytest.fixture
async def lister(router: Router) -> AsyncIterator[JobLister]:
    async with AsyncExitStack() as stack:
        for uid, service in (("A", Remembering("adf", "ADE")), ("B", Remembering("bce", "BC"))):
            await stack.enter_async_context(watched_agent(router, uid, service))
        yield JobLister(router.directory)


def visible(facts: JobFacts) -> bool:
    return facts.uid not in "dD"


@pytest.mark.parametrize(("ended", "pages"), [(False, ["ab", "ce", "f", ""]), (True, ["AB", "CE", ""])])
async def test_pages_go_over_all_agents(ended: bool, pages: list[str], lister: JobLister) -> None:
    listed = lister.ended if ended else lister.jobs
    after: str | None = None
    for page in pages:
        uids = [info["uid"] for info in await listed(after, 2, visible)]
        assert uids == [*page]
        after = uids[-1] if uids else None


@pytest.mark.parametrize("ended", [False, True])
async def test_a_page_after_an_unknown_job(ended: bool, lister: JobLister) -> None:
    with pytest.raises(JobNotFoundError):
        await (lister.ended if ended else lister.jobs)("x", 2, visible)


async def test_agents_of_the_field_are_not_asked(router: Router, lister: JobLister) -> None:
    async with field_agent("F", router.server_port, TOKEN):
        agent = await connected(router, "F")
        job = (await router.directory.create(agent, "job"))["uid"]
        assert job in [info["uid"] for info in await lister.jobs(None, 10, visible)]
        assert len(await lister.ended(None, 10, lambda facts: True)) == 5
