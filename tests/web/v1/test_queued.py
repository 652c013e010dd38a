"""Jobs that wait for an agent of their pool, as clients of /v1 and of pRpc see them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from pagent.client import RemoteJob, connect_agent
from pagent.config.model import Settings
from pagent.config.router import Access, AccessQuota, AccessToken
from pagent.errors import MethodError
from tests.kit.agents import TOKEN
from tests.kit.pools import JOIN, START, has_arrived, keys_in, pool_of, running_pools
from tests.kit.transfers import eventually
from tests.web.v1.listener import listening
from tests.web.v1.portal import Portal

WAITS = pool_of("sh", "-c", "cat >/dev/null; echo job 7 queued; exec sleep {seconds}")
BODY: dict[str, Any] = {"agent": {"pool": "p", "seconds": "600"}, "start": START}


async def queued(portal: Portal, **members: Any) -> str:
    answer = await portal.ask("POST", "/v1/jobs", {**BODY, **members})
    assert answer.status == 202, answer
    uid: str = answer.json["uid"]
    return uid


async def output_of(job: RemoteJob, *, follow: bool) -> bytes:
    return b"".join([piece async for piece in job.logs(follow=follow)])


def uids(listing: dict[str, Any]) -> list[str]:
    return [job["uid"] for job in listing["jobs"]]


async def test_they_are_listed_with_filters_and_pages(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=WAITS) as (router, _):
        portal = Portal(router.control_port)
        waiting = [await queued(portal, labels={"n": str(number)}) for number in range(3)]
        assert uids(await portal.get("/v1/jobs?state=QUEUED")) == waiting
        assert uids(await portal.get("/v1/jobs?state=QUEUED&label.n=1")) == waiting[1:2]
        assert uids(await portal.get("/v1/jobs?state=RUNNING&label.n=1")) == []
        assert uids(await portal.get("/v1/jobs?state=QUEUED&agent=login")) == []
        found, after = list[str](), ""
        while True:
            page = await portal.get(f"/v1/jobs?state=QUEUED&limit=1{after}")
            found += uids(page)
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert found == waiting
        for uid in waiting:
            assert (await portal.ask("DELETE", f"/v1/jobs/{uid}")).status == 204
        assert uids(await portal.get("/v1/jobs?state=QUEUED")) == []


async def test_quotas_and_owners(settings: Settings, tmp_path: Path) -> None:
    tokens = tuple(
        AccessToken(name, hashlib.sha256(name.encode()).hexdigest(), ("read", "jobs"), None, AccessQuota(jobs))
        for name, jobs in (("one", 1), ("two", None))
    )
    async with running_pools(settings, keys_in(tmp_path), Access(tokens), p=WAITS) as (router, _):
        one, two = Portal(router.control_port, "one"), Portal(router.control_port, "two")
        uid = await queued(one)
        assert (await one.ask("POST", "/v1/jobs", BODY)).status == 429
        assert uids(await one.get("/v1/jobs")) == [uid]
        assert uids(await two.get("/v1/jobs")) == []
        assert (await one.ask("DELETE", f"/v1/jobs/{uid}")).status == 204
        await queued(one)


async def test_a_wait_lasts_until_the_program_ends(settings: Settings, tmp_path: Path) -> None:
    pool = pool_of("sh", "-c", f"while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; exec {' '.join(JOIN)}")
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, _):
        portal = Portal(router.control_port)
        start = {"args": ["sh", "-c", "sleep 0.2; exit 3"], "port_expected_count": 0}
        uid = (await portal.ask("POST", "/v1/jobs", {"agent": {"pool": "p"}, "start": start})).json["uid"]
        assert (await portal.get(f"/v1/jobs/{uid}/wait?timeout=0.05"))["state"] == "QUEUED"
        waiting = asyncio.ensure_future(portal.get(f"/v1/jobs/{uid}/wait?timeout=30"))
        (tmp_path / "go").touch()
        assert ((await waiting)["state"], (await waiting)["exit_code"]) == ("FINISHED", 3)


@pytest.mark.parametrize("action", ["start", "kill"])
async def test_what_needs_an_agent_is_503(settings: Settings, tmp_path: Path, action: str) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=WAITS) as (router, _):
        portal = Portal(router.control_port)
        uid = await queued(portal)
        answer = await portal.ask("POST", f"/v1/jobs/{uid}/{action}", {"args": ["x"]} if action == "start" else {})
        assert (answer.status, answer["Retry-After"]) == (503, "5")


async def test_clients_of_prpc(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=WAITS) as (router, host):
        uid = await queued(Portal(router.control_port), name="n")
        async with connect_agent(f"127.0.0.1:{router.control_port}", token=TOKEN) as client:
            (found,) = [job for job in await client.jobs() if job.uid == uid]
            await eventually(lambda: router.directory.jobs.get(uid).info()["message"] != "")  # type: ignore[union-attr]
            info = await found.info()
            assert (info["state"], info["name"], info["message"]) == ("QUEUED", "n", "job 7 queued")
            again = await client.create_job("n", uid=uid, pool={"pool": "p", "seconds": "600"})
            assert again.first_info["state"] == "QUEUED"  # a creation that is repeated
            with pytest.raises(MethodError, match="waits for an agent of its pool"):
                await found.kill()
            with pytest.raises(MethodError, match="waits for an agent of its pool"):
                await output_of(found, follow=False)
            waiting = asyncio.ensure_future(found.wait())
            following = asyncio.ensure_future(output_of(found, follow=True))
            done, _ = await asyncio.wait((waiting, following), timeout=0.1)
            assert not done
            await found.remove()
            for each in (waiting, following):
                with pytest.raises(MethodError, match="not found"):
                    await each
            await eventually(lambda: not host.jobs.jobs())


async def test_every_state_of_a_request_is_an_event(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        portal = Portal(router.control_port)
        async with listening(router.control_port) as events:
            uid = (await portal.ask("POST", "/v1/jobs", {"agent": {"pool": "p"}, "start": START})).json["uid"]
            seen = [(await events.until("pool.request")).data for _ in range(3)]
            while seen[-1]["state"] != "connected":
                seen.append((await events.until("pool.request")).data)
            assert [each["state"] for each in seen] in (
                ["requested", "queued", "starting", "connected"],
                ["requested", "queued", "connected"],
            )
            assert {(each["job"], each["pool"]) for each in seen} == {(uid, "p")}
            (listed,) = (await portal.get("/v1/pools/p"))["requests"]
            assert {**listed, "message": ""} == {**seen[-1], "message": ""}
            job = (await events.until("job.state")).data
            assert (job["uid"], job["state"]) == (uid, "NEW")  # it was QUEUED


async def test_events_of_requests_are_for_clients_that_see_the_job(settings: Settings, tmp_path: Path) -> None:
    tokens = tuple(
        AccessToken(name, hashlib.sha256(name.encode()).hexdigest(), ("read", "jobs")) for name in ("one", "two")
    )
    async with (
        running_pools(settings, keys_in(tmp_path), Access(tokens), p=WAITS) as (router, _),
        listening(router.control_port, token="two") as events,
    ):
        await queued(Portal(router.control_port, "one"))
        uid = await queued(Portal(router.control_port, "two"))
        assert (await events.until("pool.request")).data["job"] == uid


async def test_a_key_makes_one_request(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=WAITS) as (router, host):
        portal = Portal(router.control_port)
        body = {**BODY, "key": "k", "ticket": {}}
        answers = await asyncio.gather(*(portal.ask("POST", "/v1/jobs", body) for _ in range(3)))
        assert [answer.status for answer in answers] == [202] * 3
        assert len({answer.json["uid"] for answer in answers}) == 1
        assert [answer.json["ticket"] for answer in answers] == [None] * 3
        assert (await portal.ask("POST", "/v1/jobs", {**body, "name": "other"})).status == 409
        assert len((await portal.get("/v1/pools/p"))["requests"]) == len(host.jobs.jobs()) == 1
        uid = answers[0].json["uid"]
        assert (await portal.ask("DELETE", f"/v1/jobs/{uid}")).status == 204
        await eventually(lambda: not host.jobs.jobs())
        assert (await portal.ask("POST", "/v1/jobs", body)).status == 409  # for ten minutes, as without a pool


async def test_a_key_of_a_job_that_runs(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        portal = Portal(router.control_port)
        body = {"agent": {"pool": "p"}, "start": START, "key": "k"}
        uid = (await portal.ask("POST", "/v1/jobs", body)).json["uid"]
        await eventually(lambda: has_arrived(router, uid))
        answer = await portal.ask("POST", "/v1/jobs", body)
        assert (answer.status, answer.json["uid"], answer.json["state"]) == (200, uid, "RUNNING")
