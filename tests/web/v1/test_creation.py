"""POST /v1/jobs: create, upload and start in one request."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from pagent.config.model import Settings
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.routers import connected, router_settings, running_router
from tests.web.v1.portal import Portal, site

PROGRAM = "import pathlib, sys; sys.exit(len(pathlib.Path('data/input').read_bytes()))"
FILES = [
    {"path": "program.py", "text": PROGRAM, "executable": True},
    {"path": "data/input", "base64": "AAECAw=="},
]
START = {"args": [sys.executable, "program.py"], "port_expected_count": 0}
ENDLESS = {"args": [sys.executable, "-c", "import time; time.sleep(600)"], "port_expected_count": 0}


async def test_create_upload_and_start_in_one_request(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        wanted = {"name": "J", "labels": {"team": "a"}, "linger": 60, "idle_after": 600, "files": FILES, "start": START}
        answer = await portal.ask("POST", "/v1/jobs", wanted)
        assert answer.status == 201, answer
        job = answer.json
        assert answer["Location"] == f"/v1/jobs/{job['uid']}"
        assert (job["name"], job["labels"], job["agent"]) == ("J", {"team": "a"}, agent.uid)
        assert job["state"] in ("RUNNING", "FINISHED")
        assert (await portal.get(f"{answer['Location']}/wait"))["exit_code"] == 4


async def test_a_job_that_is_only_created(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        for body in ({}, {"agent": agent.uid}, {"agent": None}, {"agent": {}}, {"start": None, "files": []}):
            answer = await portal.ask("POST", "/v1/jobs", body)
            assert (answer.status, answer.json["state"]) == (201, "NEW")
        assert len((await portal.get("/v1/jobs"))["jobs"]) == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "x" * 1025}, "name must have at most 1024 bytes"),
        ({"labels": {"A": "b"}}, "labels has the name 'A'"),
        ({"labels": {"pagent/owner": "x"}}, "set by the router"),
        ({"labels": {"a": "b" * 257}}, "labels.a must have at most 256 bytes"),
        ({"labels": {f"a{number}": "" for number in range(17)}}, "labels must have at most 16 entries"),
        ({"agent": 1}, "agent must be a map"),
        ({"agent": ""}, "agent must not be empty"),
        ({"agent": {"order": "best"}}, "agent.order must be one of fewest-jobs,"),
        ({"agent": {"where": {"colour": "x"}}}, "agent.where['colour'] must be jobenv, platform.NAME"),
        ({"agent": {"where": {"platform.x": {"version": "about 3"}}}}, "version 'about 3' is not a clause"),
        ({"linger": -1}, "linger must be a number from 0"),
        ({"idle_after": 0}, "idle_after must be more than 0"),
        ({"key": ""}, "key must not be empty"),
        ({"key": "k" * 201}, "key must have at most 200 characters"),
        ({"files": [{"path": "a"}]}, "files[0] must be {'text'"),
        ({"files": [{"path": "a", "text": "", "mode": 1}]}, "files[0] has the unknown name 'mode'"),
        ({"files": [{"path": "a", "base64": "x"}]}, "files[0].base64 is not base64"),
        ({"files": [{"text": ""}]}, "files[0].path is missing"),
        ({"files": [{"path": "a", "text": ""}, {"path": "/etc/x", "text": ""}]}, "files[1].path: "),
        ({"files": [{"path": "../x", "text": ""}]}, "files[0].path: "),
        ({"start": {}}, "start.args is missing"),
        ({"start": {"args": ["x"], "env": []}}, "start.env must be a map"),
        ({"start": {"args": ["x"], "stdin": {"base64": "?"}}}, "start.stdin.base64 is not base64"),
        ({"start": {"args": ["/no/such/program"], "port_expected_count": 0}}, "/no/such/program"),
        ({"colour": 1}, "the body has the unknown name 'colour'"),
    ],
)
async def test_what_is_wrong_is_named_and_no_job_stays(change: dict[str, Any], words: str, settings: Settings) -> None:
    async with site(settings) as (router, _):
        portal = Portal(router.control_port)
        answer = await portal.ask("POST", "/v1/jobs", change)
        assert answer.status == 400, answer
        assert words in answer.json["detail"]
        assert (await portal.get("/v1/jobs"))["jobs"] == []


async def test_agents_that_cannot_be_chosen(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)

        async def status(choice: Any) -> int:
            return (await portal.ask("POST", "/v1/jobs", {"agent": choice})).status

        assert await status("unknown") == 404
        assert await status({"where": {"properties.absent": {"exists": True}}}) == 503
        await portal.ask("PATCH", f"/v1/agents/{agent.uid}", {"cordoned": True})
        assert await status(agent.uid) == 409
        refused = await portal.ask("POST", "/v1/jobs", {})
        assert (refused.status, refused["Retry-After"]) == (503, "5")
        assert "1 are cordoned" in refused.json["detail"]


async def test_an_agent_of_the_field(settings: Settings) -> None:
    async with running_router() as router, field_agent("F" * 32, router.server_port, TOKEN):
        await connected(router, "F" * 32)
        portal = Portal(router.control_port)
        wanted = {"labels": {"a": "b"}, "files": [{"path": "x", "text": "y"}], "start": {"args": ["x"]}}
        answer = await portal.ask("POST", "/v1/jobs", wanted)
        assert (answer.status, answer.json["state"], answer.json["labels"]) == (201, "RUNNING", {"a": "b"})
        for more in ({"key": "k"}, {"linger": 5}, {"idle_after": 5}):
            assert (await portal.ask("POST", "/v1/jobs", more)).status == 503


async def test_no_agent_is_back_yet() -> None:
    async with running_router(router_settings(ready_wait=60.0)) as router:
        portal = Portal(router.control_port)
        for body in ({}, {"agent": "a"}, {"key": "k"}):
            answer = await portal.ask("POST", "/v1/jobs", body)
            assert (answer.status, answer["Retry-After"]) == (503, "2")


# --- keys -------------------------------------------------------------------------------------------


async def test_a_key_makes_a_creation_idempotent(settings: Settings) -> None:
    async with site(settings) as (router, _):
        portal = Portal(router.control_port)
        wanted = {"key": "k", "files": FILES, "start": START}
        first, again = [await portal.ask("POST", "/v1/jobs", wanted) for _ in range(2)]
        assert (first.status, again.status) == (201, 200)
        assert first.json["uid"] == again.json["uid"]
        reordered = dict(reversed(wanted.items()))
        assert (await portal.ask("POST", "/v1/jobs", reordered)).status == 200
        other = await portal.ask("POST", "/v1/jobs", {**wanted, "name": "another"})
        assert (other.status, "by another request" in other.json["detail"]) == (409, True)
        assert (await portal.ask("POST", "/v1/jobs", {**wanted, "key": "another"})).status == 201
        await portal.ask("DELETE", first["Location"] or "")
        removed = await portal.ask("POST", "/v1/jobs", wanted)
        assert (removed.status, "removed" in removed.json["detail"]) == (409, True)


async def test_requests_with_one_key_at_a_time_create_one_job(settings: Settings) -> None:
    async with site(settings) as (router, _):
        portal = Portal(router.control_port)
        wanted = {"key": "k", "files": FILES, "start": ENDLESS}
        answers = await asyncio.gather(*(portal.ask("POST", "/v1/jobs", wanted) for _ in range(10)))
        assert sorted(answer.status for answer in answers) == [200] * 9 + [201]
        assert len({answer.json["uid"] for answer in answers}) == 1
        assert len((await portal.get("/v1/jobs"))["jobs"]) == 1
