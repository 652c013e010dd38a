"""A router that is notified of jobs by an agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pagent.relay import directory, watches
from pagent.router import Router
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import istream
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask, connected
from tests.kit.watched import Watched, known, listed, watched_agent, watched_link


async def test_the_jobs_of_an_agent_are_known_without_a_question(router: Router) -> None:
    service = Watched("j")
    async with watched_agent(router, "A", service):
        facts = router.directory.facts("j")
        assert facts is not None
        assert facts.agent_uid == "A"
        await service.change("j", state="PENDING", labels={"a": "b"})
        await known(router, "j", "PENDING")
        await service.change("k")
        await known(router, "k", "NEW")
        await service.say({"removed": "j"})
        await known(router, "j", None)
        assert (await ask(router.control_port, "GET", "/jobs/-/j/info")).status == 404
        assert service.calls == []


async def test_notes_are_kept_with_their_job(router: Router) -> None:
    service = Watched("j")
    async with watched_agent(router, "A", service):
        await service.say({"note": ["j", "n", b"1"]}, {"note": ["j", "m", b"2"]}, {"note": ["j", "n", None]})
        await service.change("j", state="FINISHED")
        await known(router, "j", "FINISHED")
        record = router.directory.jobs.get("j")
        assert record is not None
        assert record.notes == {"m": b"2"}


async def test_a_message_that_makes_no_sense_is_ignored(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    service = Watched("j")
    senseless: list[Any] = [5, [], {}, {"job": 5}, {"job": {"uid": 5}}, {"jobs": {}}, {"removed": None}, {"ready": 1}]
    async with watched_agent(router, "A", service) as agent:
        await service.say(
            *senseless, {"note": ["j", 5, b""]}, {"note": ["j", "n", "text"]}, {"jobs": [5, {"uid": "k"}]}
        )
        await known(router, "k", "NEW")
        assert agent.is_watched
    assert "is not understood" in caplog.text


async def test_jobs_that_an_agent_lists_no_more_are_forgotten(router: Router) -> None:
    service = Watched("j", "k")
    async with watched_agent(router, "A", service):
        pass
    assert router.directory.jobs.get("j") is not None  # it may come back
    del service.jobs["j"]
    async with watched_agent(router, "A", service):
        assert router.directory.jobs.get("j") is None
        assert router.directory.jobs.get("k") is not None


async def test_a_job_that_is_created_while_jobs_are_listed_is_kept(router: Router) -> None:
    service = Watched("j")
    service.listing.clear()
    async with watched_link(router, "A", service):
        agent = await connected(router, "A")
        info = await router.directory.create(agent, "job")
        service.listing.set()
        await listed(agent)
        assert router.directory.jobs.get(info["uid"]) is not None


async def test_a_request_waits_for_an_agent_that_lists_its_jobs(router: Router) -> None:
    service = Watched("j")
    service.listing.clear()
    async with watched_link(router, "A", service):
        async with asyncio.timeout(PATIENCE_S):
            await service.begun.wait()
        asking = asyncio.create_task(ask(router.control_port, "GET", "/jobs/-/j/info"))
        await asyncio.sleep(0.1)
        assert not asking.done()
        service.listing.set()
        assert (await asking).status == 200
        assert service.calls == ["job_info"]


async def test_a_request_is_refused_for_now_while_jobs_are_listed(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LISTING_S", 0.05)
    service = Watched()
    service.listing.clear()
    async with watched_link(router, "A", service):
        agent = await connected(router, "A")
        assert (await ask(router.control_port, "GET", "/jobs/-/j/info")).status == 503
        service.listing.set()
        await listed(agent)
        assert (await ask(router.control_port, "GET", "/jobs/-/j/info")).status == 404


class Failing(Watched):
    """The first watch fails."""

    @istream
    async def agent_watch(self, call: IncomingCall, interval: float = 10.0) -> None:
        if not self.watches:
            self.watches += 1
            raise ValueError("not now")
        await super().agent_watch(call, interval)


async def test_a_watch_that_fails_is_tried_again(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_AGAIN_S", 0.05)
    service = Failing("j")
    async with watched_link(router, "A", service):
        agent = await connected(router, "A")
        await listed(agent)
        assert router.directory.jobs.get("j") is not None


async def test_a_job_of_an_agent_whose_watch_has_failed_is_asked_for(router: Router) -> None:
    service = Failing("j")
    async with watched_link(router, "A", service):
        await connected(router, "A")
        assert (await ask(router.control_port, "GET", "/jobs/-/j/info")).status == 200
        assert service.calls == ["job_info", "job_info"]


async def test_the_watch_moves_to_the_link_that_takes_new_calls(router: Router) -> None:
    service = Watched("j")
    async with watched_link(router, "A", service, instance="i") as first:
        agent = await connected(router, "A")
        await listed(agent)
        async with watched_link(router, "A", service, instance="i", replaces=first.uid):
            newer = await connected(router, "A", other_than=agent)
            await listed(newer)
            assert service.watches == 2
            await service.change("j", state="FINISHED")
            await known(router, "j", "FINISHED")


async def test_traffic_to_a_job_that_another_router_has_started_waits_for_the_news(router: Router) -> None:
    service = Watched("j")
    async with watched_agent(router, "A", service):
        await service.change("j", state="PENDING")
        await known(router, "j", "PENDING")
        asking = asyncio.create_task(ask(router.control_port, "GET", "/jobs/-/j/http/"))
        await asyncio.sleep(0.3)  # longer than polls would take
        assert not asking.done()
        assert service.calls == []
        await service.change("j", state="RUNNING")
        assert (await asking).status == 502  # the double has no http_request
