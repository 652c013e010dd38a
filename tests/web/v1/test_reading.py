"""What /v1 answers about the router, its agents and its jobs."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest

from pagent import __version__
from pagent.config.model import Settings
from pagent.config.router import RouterControl
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import router_settings, running_router
from tests.kit.watched import Watched, watched_agent
from tests.web.v1.portal import Portal, document, site

#: Values that an agent may say where another type belongs.
WRONG: list[Any] = [True, 7, -1.5, math.nan, math.inf, "text", b"bytes", [], [1, [2]], ["1"], {}, {"a": {"b": [1]}}]
SAID = (
    *("name", "ports", "pid", "exit_code", "signal", "error", "open_streams", "cpu_seconds", "rss_bytes"),
    *("state", "labels", "created_at", "started_at", "finished_at", "removed_at", "last_request_at", "stderr"),
)


async def test_version_openapi_and_caller() -> None:
    async with running_router() as router:
        portal = Portal(router.control_port)
        assert (await portal.get("/v1"))["version"] == __version__
        assert await portal.get("/v1/openapi.json") == document()
        caller = await portal.get("/v1/whoami")
        assert caller["open"] is True
        assert caller["name"] is None
        assert caller["quota"] == {"jobs": None, "jobs_per_minute": None, "streams": None}


async def test_agents_and_jobs(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        (listed,) = (await portal.get("/v1/agents"))["agents"]
        assert listed == await portal.get(f"/v1/agents/{agent.uid}")
        assert listed["uid"] == agent.uid
        assert [link["mode"] for link in listed["links"]] == ["SERVER"]
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        info = await router.directory.create(link, "a job", labels={"team": "a"})
        (job,) = (await portal.get("/v1/jobs"))["jobs"]
        assert job == await portal.get(f"/v1/jobs/{info['uid']}")
        assert (job["uid"], job["name"], job["agent"], job["state"]) == (info["uid"], "a job", agent.uid, "NEW")
        assert job["labels"] == {"team": "a"}
        assert (await portal.get(f"/v1/agents/{agent.uid}"))["jobs"] == 1


async def test_pages_and_filters(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        uids = [
            (await router.directory.create(link, str(number), labels={"even": str(number % 2 == 0)}))["uid"]
            for number in range(5)
        ]
        found, after = list[str](), ""
        for _ in range(3):
            page = await portal.get(f"/v1/jobs?limit=2{after}")
            found += [job["uid"] for job in page["jobs"]]
            after = f"&after={page['next']}"
        assert page["next"] is None
        assert found == uids
        even = await portal.get("/v1/jobs?label.even=True")
        assert [job["uid"] for job in even["jobs"]] == uids[::2]
        assert len((await portal.get(f"/v1/jobs?state=NEW&agent={agent.uid}&limit=500"))["jobs"]) == 5
        assert (await portal.get("/v1/jobs?state=RUNNING"))["jobs"] == []
        assert (await portal.get("/v1/jobs?agent=another"))["jobs"] == []


async def test_a_job_whose_agent_is_away_is_unreachable(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        info = await router.directory.create(link, "a job", linger=60.0)
        link.connection.link.abort("a test")
        async with asyncio.timeout(PATIENCE_S):
            while (await portal.get(f"/v1/jobs/{info['uid']}"))["state"] != "UNREACHABLE":
                pass
        assert (await portal.get("/v1/jobs?state=UNREACHABLE"))["jobs"]


async def test_cordon(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        for on in (True, False):
            answer = await portal.ask("PATCH", f"/v1/agents/{agent.uid}", {"cordoned": on})
            assert (answer.status, answer.json["cordoned"], answer.json["shared"]) == (200, on, True)
            assert (await portal.get(f"/v1/agents/{agent.uid}"))["cordoned"] is on
        answer = await portal.ask("PATCH", f"/v1/agents/{agent.uid}", {"cordoned": 1})
        assert answer.status == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/", 404),
        ("/v1/unknown", 404),
        ("/v1/agents/unknown", 404),
        ("/v1/jobs/unknown", 404),
        ("/v1/jobs?limit=0", 400),
        ("/v1/jobs?limit=x", 400),
        ("/v1/jobs?after=x", 400),
        ("/v1/jobs?after=%C3%BC", 400),
        ("/v1/jobs?colour=x", 400),
        ("/v1/agents?limit=-1", 400),
    ],
)
async def test_errors_are_problems(target: str, status: int) -> None:
    async with running_router() as router:
        answer = await Portal(router.control_port).ask("GET", target, headers=[("X-Request-Id", "mine")])
        assert answer.status == status
        problem: dict[str, Any] = answer.json
        assert problem["request_id"] == answer["X-Request-Id"] == "mine"
        assert problem["detail"]


async def test_an_open_router_serves_it_on_the_loopback_only() -> None:
    async with running_router(router_settings(control=RouterControl(interface="0.0.0.0"))) as router:
        for target in ("/v1", "/v1/openapi.json", "/v1/jobs"):
            answer = await Portal(router.control_port).ask("GET", target)
            assert answer.status == 403
            assert "access.tokens" in answer.json["detail"]


async def test_jobs_that_have_ended(settings: Settings) -> None:
    async with site(settings) as (router, _):
        portal = Portal(router.control_port)
        start = {"args": ["sh", "-c", "echo broken >&2; exit 3"], "port_expected_count": 0}
        uids = []
        for name in "abc":
            job = (await portal.ask("POST", "/v1/jobs", {"name": name, "labels": {"n": name}, "start": start})).json
            await portal.get(f"/v1/jobs/{job['uid']}/wait")
            uids.append(job["uid"])
        assert (await portal.ask("DELETE", f"/v1/jobs/{uids[0]}")).status == 204
        await portal.ask("POST", "/v1/jobs", {})
        page = await portal.get("/v1/jobs?ended=true&limit=2")
        assert [job["uid"] for job in page["jobs"]] == uids[:2]
        assert [job["state"] for job in page["jobs"]] == ["CLOSED", "FINISHED"]
        assert {(job["exit_code"], job["stderr"]) for job in page["jobs"]} == {(3, "broken\n")}
        assert [bool(job["removed_at"]) for job in page["jobs"]] == [True, False]
        rest = await portal.get(f"/v1/jobs?ended&limit=2&after={page['next']}")
        assert ([job["uid"] for job in rest["jobs"]], rest["next"]) == ([uids[2]], None)
        assert [job["uid"] for job in (await portal.get("/v1/jobs?ended=1&label.n=b"))["jobs"]] == [uids[1]]
        assert len((await portal.get("/v1/jobs?ended=false"))["jobs"]) == 3
        assert (await portal.ask("GET", "/v1/jobs?ended=yes")).status == 400


async def test_what_agents_say_in_another_type_is_not_known() -> None:
    agent = Watched()
    for number, (name, value) in enumerate(itertools.product(SAID, WRONG)):
        agent.jobs[f"{number:032x}"] = {"uid": f"{number:032x}", "state": "RUNNING", "labels": {}, name: value}
    names = ("cpus", "load", "memory_total", "disk_free", "jobs_max", "version", "started_at", "deadline", "cordoned")
    async with running_router() as router:
        portal = Portal(router.control_port)
        for value in WRONG:
            agent.host = dict.fromkeys(names, value)
            async with watched_agent(router, "hostile", agent):
                await portal.get("/v1/agents")
        async with watched_agent(router, "hostile", agent):
            jobs = (await portal.get("/v1/jobs?limit=500"))["jobs"]
    assert len(jobs) == len(agent.jobs)
    assert {type(job["ports"]) for job in jobs} == {type(None), list}
    assert [job["cpu_seconds"] for job in jobs if job["cpu_seconds"] is not None] == [7, -1.5]
