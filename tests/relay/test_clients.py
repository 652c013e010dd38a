"""Jobs of clients, over several routers and over restarts of a router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any

import pytest

from pagent.relay import clients, elsewhere
from pagent.relay.agent import AgentKey
from pagent.relay.clients import CLIENT, CLIENT_LINGER, ClientJobs, JobClient
from pagent.relay.directory import AgentDirectory
from pagent.router import Router
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, Peer, dial
from tests.kit.routers import running_router
from tests.kit.stepped import SteppedLoop
from tests.kit.watched import Watched, known, watched_agent

LINGER_S = 0.3


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LINGER_LEAST_S", LINGER_S)
    monkeypatch.setattr(clients, "AGAIN_S", 0.05)
    monkeypatch.setattr(elsewhere, "ANSWER_S", 0.3)


@asynccontextmanager
async def client(router: Router, uid: str) -> AsyncIterator[Peer]:
    async with dial(router.control_port, TOKEN, uid=uid, instance=uid, extensions=["flow"]) as peer:
        yield peer


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def service_with_a_job(client_uid: str, linger: str = "0") -> Watched:
    """The double of an agent with a job of a client; ``linger``: seconds that it outlives the client's links."""
    service = Watched("j")
    service.jobs["j"]["labels"] = {CLIENT: client_uid, CLIENT_LINGER: linger}
    return service


async def test_a_restarted_router_removes_the_jobs_of_clients_that_are_gone(router: Router) -> None:
    service = service_with_a_job("gone")
    service.jobs["k"] = {"uid": "k", "labels": {CLIENT: "here"}}
    service.jobs["l"] = {"uid": "l", "labels": {CLIENT: "gone", CLIENT_LINGER: "600"}}
    service.jobs["m"] = {"uid": "m", "labels": {}}
    async with client(router, "here") as here, watched_agent(router, "A", service):
        assert await here.call("job_count_current_connection") == 1
        await known(router, "j", None)
        assert set(service.jobs) == {"k", "l", "m"}


async def test_a_client_that_comes_in_time_keeps_its_jobs(router: Router) -> None:
    service = service_with_a_job("late", linger="1")
    async with watched_agent(router, "A", service), client(router, "late") as late:
        await asyncio.sleep(1.2)
        assert await late.call("job_count_current_connection") == 1
        assert service.calls == []


async def test_a_job_of_an_agent_that_is_away_is_removed_when_it_is_back(router: Router) -> None:
    service = service_with_a_job("gone")
    async with watched_agent(router, "A", service):
        pass
    await asyncio.sleep(2 * LINGER_S)
    async with watched_agent(router, "A", service):
        await known(router, "j", None)


async def test_a_job_stays_whose_client_has_a_link_to_another_router(router: Router) -> None:
    service = service_with_a_job("c")
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(running_router())
        await stack.enter_async_context(client(other, "c"))
        for each in (other, router):
            await stack.enter_async_context(watched_agent(each, "A", service))
        await until(lambda: service.calls.count("job_note pagent/asks") == 2)
        assert service.calls.count("job_note pagent/answers") >= 1
        assert "job_remove" not in service.calls


async def test_a_job_is_removed_once_its_client_has_no_link_to_any_router(router: Router) -> None:
    service = service_with_a_job("c")
    async with running_router() as other, AsyncExitStack() as agents:
        async with client(other, "c"):
            for each in (other, router):
                await agents.enter_async_context(watched_agent(each, "A", service))
            await until(lambda: "job_note pagent/answers" in service.calls)
            assert service.jobs
        await known(router, "j", None)
    assert service.jobs == {}


async def test_an_adoption_outlives_the_router(router: Router) -> None:
    service = service_with_a_job("first", linger="1")
    async with client(router, "second") as second, watched_agent(router, "A", service):
        await second.call("job_adopt", "j")
        await asyncio.sleep(1.2)
        assert "job_remove" not in service.calls
    async with running_router() as restarted, client(restarted, "second"), watched_agent(restarted, "A", service):
        await asyncio.sleep(2 * LINGER_S)
        assert "j" in service.jobs


@pytest.mark.parametrize("note", [b"", b"\xc1", b"\x93\xa1a\xa1b\xa1c", b"\x92\x01\x02"])
async def test_a_note_that_makes_no_sense_gives_the_job_to_no_client(note: bytes, router: Router) -> None:
    service = service_with_a_job("here")
    async with client(router, "here") as here, watched_agent(router, "A", service):
        await service.say({"note": ["j", clients.ADOPTED, note]})
        await service.change("k")
        await known(router, "k", "NEW")
        assert await here.call("job_count_current_connection") == 1


# --- jobs that wait for an agent of their pool --------------------------------------------------------


class Queue:
    """A job that waits for an agent, and its client, whose link is lost at once."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop
        self._info = {"uid": "q", "state": "QUEUED", "labels": {CLIENT: "c"}, "created_at": 1.0}
        self.ended: list[str] = []
        loop.run_until_complete(self._make())

    async def _make(self) -> None:
        async def remove(uid: str) -> bool:
            self.ended.append(uid)
            return True

        link: Any = SimpleNamespace(on_lost=[])
        spool: Any = None
        self._directory = AgentDirectory(spool=spool, linger=60.0, ready_wait=0.0)
        jobs = ClientJobs(self._directory, remove)
        jobs.joined(JobClient(None, "c"), link)
        self._directory.jobs.queue(self._info, "A")
        for lost in link.on_lost:
            lost(None)

    def place(self) -> None:
        """Let its agent come."""
        self._directory.jobs.update(AgentKey("A", None), {**self._info, "state": "RUNNING"})

    def ended_after(self, seconds: float) -> bool:
        self._loop.pass_time(seconds)
        return self.ended == ["q"]


def test_a_queued_job_ends_sooner_after_its_client_than_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LINGER_LEAST_S", 60.0)
    with closing(SteppedLoop()) as loop:
        queue = Queue(loop)
        assert not queue.ended_after(clients.QUEUED_LINGER_LEAST_S - 1.0)
        assert queue.ended_after(2.0)
        queue = Queue(loop)
        queue.place()
        assert not queue.ended_after(clients.QUEUED_LINGER_LEAST_S + 1.0)
        assert queue.ended_after(61.0)
