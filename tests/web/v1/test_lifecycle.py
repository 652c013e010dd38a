"""Start, kill, remove and wait for jobs over /v1."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from pagent.config.model import Settings
from pagent.router import Router
from tests.kit.agents import TOKEN
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, running_router
from tests.web.v1.portal import Portal, site

UNTIL_INPUT_ENDS = [sys.executable, "-c", "import time; time.sleep(600)"]
BATCH = {"port_expected_count": 0}


async def new_job(router: Router, agent_uid: str) -> str:
    link = router.directory.table.agent(agent_uid)
    assert link is not None
    uid: str = (await router.directory.create(link, "a job"))["uid"]
    return uid


async def test_a_job_is_started_waited_for_and_removed(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        job = f"/v1/jobs/{await new_job(router, agent.uid)}"
        code = "import sys; sys.exit(len(sys.stdin.read()))"
        start = {"args": [sys.executable, "-c", code], "stdin": {"text": "seven b"}, "env": {"A": "b"}, **BATCH}
        answer = await portal.ask("POST", f"{job}/start", start)
        assert answer.status == 200, answer
        assert answer.json["state"] in ("RUNNING", "FINISHED")
        ended = await portal.get(f"{job}/wait?timeout=20")
        assert (ended["state"], ended["exit_code"]) == ("FINISHED", 7)
        assert (await portal.ask("DELETE", job)).status == 204
        assert (await portal.ask("DELETE", job)).status == 404
        assert (await portal.ask("GET", f"{job}/wait")).status == 404


async def test_a_wait_ends_with_its_time_and_with_the_job(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        job = f"/v1/jobs/{await new_job(router, agent.uid)}"
        assert (await portal.get(f"{job}/wait"))["state"] == "NEW"
        started = await portal.ask("POST", f"{job}/start", {"args": UNTIL_INPUT_ENDS, **BATCH})
        assert started.status == 200, started
        assert (await portal.get(f"{job}/wait?timeout=0.05"))["state"] == "RUNNING"
        again = await portal.ask("POST", f"{job}/start", {"args": UNTIL_INPUT_ENDS, **BATCH})
        assert again.status == 409
        waiting = asyncio.ensure_future(portal.get(f"{job}/wait?timeout=60"))
        killed = await portal.ask("POST", f"{job}/kill", {"signal": "KILL"})
        assert killed.status == 200, killed
        assert (await waiting)["signal"] in ("SIGKILL", "KILL")
        assert (await portal.ask("POST", f"{job}/kill")).status in (200, 409)


async def test_a_wait_for_a_job_that_is_removed_is_404(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        job = f"/v1/jobs/{await new_job(router, agent.uid)}"
        await portal.ask("POST", f"{job}/start", {"args": UNTIL_INPUT_ENDS, **BATCH})
        waiting = asyncio.ensure_future(portal.ask("GET", f"{job}/wait"))
        assert (await portal.ask("DELETE", job)).status == 204
        assert (await waiting).status in (200, 404)  # its process ends before it is removed


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("start", {}, "args is missing"),
        ("start", [], "the body must be a map"),
        ("start", {"args": []}, "args must have at least 1 entries"),
        ("start", {"args": ["a", 1]}, "args[1] must be a string, not 1"),
        ("start", {"args": ["a"], "env": {"A": None}}, "env.A must be a string"),
        ("start", {"args": ["a"], "port": 0}, "port must be an integer from 1 to 65535"),
        ("start", {"args": ["a"], "port": True}, "port must be an integer"),
        ("start", {"args": ["a"], "ready": "soon"}, "ready must be one of report, connect"),
        ("start", {"args": ["a"], "timeout": -1}, "timeout must be a number"),
        ("start", {"args": ["a"], "colour": 1}, "unknown name 'colour'"),
        ("start", {"args": ["a"], "stdin": "x"}, "stdin must be {'text'"),
        ("start", {"args": ["a"], "stdin": {"text": "x", "base64": ""}}, "stdin must be {'text'"),
        ("start", {"args": ["a"], "stdin": {"base64": "?"}}, "stdin.base64 is not base64"),
        ("start", {"args": ["/no/such/program"], **BATCH}, "/no/such/program"),
        ("start", {"args": ["true"], "cwd": "absent", **BATCH}, "absent"),
        ("start", {"args": ["true"], "ready": "connect"}, "ready='connect' needs a port"),
        ("kill", {"signal": "NONE"}, "NONE"),
        ("kill", {"grace": "long"}, "grace must be a number"),
    ],
)
async def test_what_is_wrong_is_named(path: str, body: Any, words: str, settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        answer = await portal.ask("POST", f"/v1/jobs/{await new_job(router, agent.uid)}/{path}", body)
        assert answer.status == 400, answer
        assert words in answer.json["detail"]


@pytest.mark.parametrize("timeout", ["-1", "x", "nan", "inf", "3601", "1e400", "\u0661", ""])
async def test_times_that_are_none(timeout: str) -> None:
    async with running_router() as router:
        answer = await Portal(router.control_port).ask("GET", f"/v1/jobs/x/wait?timeout={timeout}")
        assert answer.status == 400


async def test_jobs_of_an_agent_of_the_field() -> None:
    async with running_router() as router, field_agent("F" * 32, router.server_port, TOKEN):
        await connected(router, "F" * 32)
        portal = Portal(router.control_port)
        job = f"/v1/jobs/{await new_job(router, 'F' * 32)}"
        refused = await portal.ask("POST", f"{job}/start", {"args": ["x"], "port": "auto", "timeout": 5})
        assert (refused.status, "'port', 'timeout'" in refused.json["detail"]) == (400, True)
        started = await portal.ask("POST", f"{job}/start", {"args": ["x"]})
        assert (started.status, started.json["state"]) == (200, "RUNNING")
        assert (await portal.get(job))["state"] == "RUNNING"
        assert (await portal.ask("POST", f"{job}/kill")).status == 501
        assert (await portal.ask("DELETE", job)).status == 204
        assert (await portal.get("/v1/jobs"))["jobs"] == []


async def test_a_hundred_waits(settings: Settings) -> None:
    async with site(settings) as (router, agent):
        portal = Portal(router.control_port)
        job = f"/v1/jobs/{await new_job(router, agent.uid)}"
        await portal.ask("POST", f"{job}/start", {"args": UNTIL_INPUT_ENDS, **BATCH})
        waits = [asyncio.ensure_future(portal.ask("GET", f"{job}/wait?timeout=600")) for _ in range(101)]
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [await wait for wait in done]
        assert (refused.status, refused["Retry-After"]) == (429, "5")
        await portal.ask("POST", f"{job}/kill", {"signal": "KILL"})
        statuses = [(await wait).status for wait in waits]
        assert (statuses.count(200), statuses.count(429)) == (100, 1)
        assert (await portal.get(f"{job}/wait"))["state"] == "FINISHED"
