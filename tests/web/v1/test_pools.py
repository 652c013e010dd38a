"""Pools over /v1: jobs that wait for an agent, and the clients that may see and cancel them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, AccessToken
from tests.kit.pools import JOIN, START, keys_in, pool_of, running_pools
from tests.kit.routers import ask, running_router
from tests.kit.transfers import eventually
from tests.web.v1.portal import Portal

WAITS = ("sh", "-c", "cat >/dev/null; echo job 7 waits for resources >&2; exec sleep {seconds}")

#: What tells an operator why a job waits.
WHY = ("message", "state_changed_at", "command_job", "command_output")


async def until_state(portal: Portal, uid: str, state: str) -> dict[str, Any]:
    return await until_job(portal, uid, lambda found: found["state"] == state)


async def until_job(portal: Portal, uid: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    found: dict[str, Any] = await portal.get(f"/v1/jobs/{uid}")
    while not condition(found):
        await asyncio.sleep(0.05)
        found = await portal.get(f"/v1/jobs/{uid}")
    return found


async def test_a_job_of_a_pool(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        portal = Portal(router.control_port)
        files = [{"path": "a/b", "text": "content"}]
        body = {"name": "n", "labels": {"l": "v"}, "agent": {"pool": "p"}, "files": files, "start": START}
        answer = await portal.ask("POST", "/v1/jobs", body)
        uid = answer.json["uid"]
        assert (answer.status, answer["Location"]) == (202, f"/v1/jobs/{uid}")
        assert (answer.json["state"], answer.json["name"], answer.json["labels"]) == ("QUEUED", "n", {"l": "v"})
        await until_state(portal, uid, "RUNNING")
        assert (await ask(router.control_port, "GET", f"/jobs/-/{uid}/http/")).status == 200
        assert (await portal.ask("GET", f"/v1/jobs/{uid}/files/a/b")).text == "content"
        pool = (await portal.get("/v1/pools"))["pools"][0]
        assert pool["agents"] == [(await portal.get(f"/v1/jobs/{uid}"))["agent"]]
        assert [(each["job"], each["state"]) for each in pool["requests"]] == [(uid, "connected")]
        assert (await portal.ask("DELETE", f"/v1/jobs/{uid}")).status == 204
        assert (await portal.ask("GET", f"/v1/jobs/{uid}")).status == 404


async def test_a_job_that_waits_is_cancelled(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*WAITS)) as (router, host):
        portal = Portal(router.control_port)
        body = {"agent": {"pool": "p", "seconds": "600"}, "start": START}
        uid = (await portal.ask("POST", "/v1/jobs", body)).json["uid"]
        found = await until_job(portal, uid, lambda found: found["message"] == "job 7 waits for resources")
        assert (found["state"], found["pool"], found["agent"]) == ("QUEUED", "p", None)
        (command,) = host.jobs.jobs()
        assert (found["command_job"], found["command_output"]) == (command.uid, ["job 7 waits for resources"])
        assert found["state_changed_at"] >= found["created_at"]
        (request,) = (await portal.get("/v1/pools/p"))["requests"]
        assert {name: request[name] for name in WHY} == {name: found[name] for name in WHY}
        assert (await portal.get("/v1/pools/p"))["requests"][0]["parameters"] == {"seconds": "600"}
        assert (await portal.ask("DELETE", f"/v1/jobs/{uid}")).status == 204
        assert (await portal.ask("GET", f"/v1/jobs/{uid}")).status == 404
        await eventually(lambda: not host.jobs.jobs())


async def test_only_the_owner_sees_a_job_that_waits_or_has_failed(settings: Settings, tmp_path: Path) -> None:
    names = ("one", "two")
    tokens = tuple(AccessToken(name, hashlib.sha256(name.encode()).hexdigest(), ("read", "jobs")) for name in names)
    pools = {"p": pool_of("sh", "-c", "cat >/dev/null; sleep {seconds}; echo no partition; exit 1")}
    async with running_pools(settings, keys_in(tmp_path), Access(tokens), **pools) as (router, _):
        one, two = (Portal(router.control_port, name) for name in names)
        for seconds, state in (("600", "QUEUED"), ("0", "FINISHED")):
            uid = (await one.ask("POST", "/v1/jobs", {"agent": {"pool": "p", "seconds": seconds}})).json["uid"]
            found = await until_state(one, uid, state)
            assert (found["owner"], bool(found["error"])) == ("one", state == "FINISHED")
            assert (await two.ask("GET", f"/v1/jobs/{uid}")).status == 404
            assert (await two.ask("DELETE", f"/v1/jobs/{uid}")).status == 404
        assert found["error"] == "the command has ended before its agent came: no partition"
        assert len((await one.get("/v1/pools/p"))["requests"]) == 2
        assert (await two.get("/v1/pools/p"))["requests"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"agent": {"pool": "none"}}, 404),
        ({"agent": {"pool": "p"}}, 400),
        ({"agent": {"pool": "p", "seconds": "1 2"}}, 400),
        ({"agent": {"pool": "p", "seconds": 1}}, 400),
        ({"agent": {"pool": "p", "seconds": "-x"}}, 400),
        ({"agent": {"pool": ""}}, 400),
    ],
)
async def test_invalid_values_are_refused(
    settings: Settings, tmp_path: Path, body: dict[str, Any], status: int
) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("sleep", "{seconds}")) as (router, host):
        answer = await Portal(router.control_port).ask("POST", "/v1/jobs", body)
        assert answer.status == status, answer.text
        assert not host.jobs.jobs()


async def test_a_router_without_pools() -> None:
    async with running_router() as router:
        portal = Portal(router.control_port)
        assert await portal.get("/v1/pools") == {"pools": []}
        assert (await portal.ask("GET", "/v1/pools/x")).status == 404
