"""The end of jobs that wait for an agent: at any router, and while the agent of the command is away."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.client import connect_agent
from pagent.config.model import Settings
from pagent.config.router import Access
from tests.kit.agents import TOKEN, agent_process, with_token
from tests.kit.pools import (
    HOST,
    JOIN,
    agents_of_pools,
    command_jobs,
    has_arrived,
    job,
    keys_in,
    pool_of,
    requests,
    running_host,
    running_pools,
    running_routers,
    states,
)
from tests.kit.routers import ask, connected, router_settings, running_router
from tests.kit.transfers import eventually

WAITS = ("sh", "-c", "cat >/dev/null; echo waits; exec sleep 600")


async def test_a_cancellation_that_is_not_kept_is_not_a_success(settings: Settings, tmp_path: Path) -> None:
    """The agent of the command stands still without a link. The same request is good once it is back."""
    configured = router_settings(access=Access(keys_file=keys_in(tmp_path)), pools={"p": pool_of(*WAITS)})
    async with running_router(configured) as router:
        client = ("--set", f"client.address='127.0.0.1:{router.server_port}'", "--set", "client.enabled=True")
        token = ("--set", f"client.token_file={with_token(tmp_path, TOKEN)[1]!r}", "--set", "server.enabled=False")
        name = ("--set", f"identity.uid={HOST!r}", "--set", "client.reconnect_delay=0.1")
        async with agent_process(tmp_path, *client, *token, *name, accepts=False) as host:
            link = await connected(router, HOST)
            wanted = job()
            await router.pools.request("p", {}, wanted)
            await eventually(lambda: states(router.pools) == ["queued"])
            host.signal(signal.SIGSTOP)
            try:
                link.connection.link.abort("cut by the test")
                for _ in range(2):
                    answer = await ask(router.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")
                    assert (answer.status, answer["Retry-After"]) == (503, "5")
            finally:
                host.signal(signal.SIGCONT)
            await connected(router, HOST)
            answer = await ask(router.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")
            assert answer.status in (204, 404)
            await eventually(lambda: states(router.pools) == ["ended"] and command_jobs(router) == [])


async def test_a_command_that_is_removed_meanwhile_needs_no_cancellation(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*WAITS)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: states(router.pools) == ["queued"])
        note = router.directory.note

        async def late(*args: Any, **options: Any) -> None:
            for each in host.jobs.jobs():
                await host.jobs.remove(each)
            await note(*args, **options)

        monkeypatch.setattr(router.directory, "note", late)
        assert (await ask(router.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 204
        await eventually(lambda: states(router.pools) == ["ended"])


@pytest.mark.parametrize("is_http", [True, False])
async def test_the_job_of_an_agent_that_is_away_is_cancelled(settings: Settings, tmp_path: Path, is_http: bool) -> None:
    """The agent stands still, as in an allocation that is suspended, and its link is lost."""
    wanted = job()
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, host):
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        (agent,) = agents_of_pools()
        link = await connected(router, requests(router.pools)[0].agent_uid)
        agent.suspend()
        try:
            link.connection.link.abort("cut by the test")
            await eventually(lambda: router.pools.is_away(wanted.uid))
            if is_http:
                assert (await ask(router.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 204
            else:
                async with connect_agent(f"127.0.0.1:{router.control_port}", token=TOKEN) as client:
                    await client.link.call("job_remove", wanted.uid)
            assert (await ask(router.control_port, "GET", f"/v1/jobs/{wanted.uid}")).status == 404
        finally:
            agent.resume()
        await eventually(lambda: states(router.pools) == ["ended"] and not host.jobs.jobs() and not agents_of_pools())


async def test_another_router_cancels(settings: Settings, tmp_path: Path) -> None:
    async with running_routers(settings, tmp_path, 2, p=pool_of(*WAITS)) as ((one, two), host):
        wanted = job()
        await one.pools.request("p", {}, wanted)
        await eventually(lambda: states(two.pools) == ["queued"])
        assert (await ask(two.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 204
        await eventually(lambda: one.directory.jobs.get(wanted.uid) is None)
        await eventually(lambda: not host.jobs.jobs())
        for router in (one, two):
            assert (await ask(router.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 404


async def test_another_router_forgets_a_failure(settings: Settings, tmp_path: Path) -> None:
    async with running_routers(settings, tmp_path, 2, p=pool_of("false")) as ((one, two), host):
        wanted = job()
        await one.pools.request("p", {}, wanted)
        for router in (one, two):
            await eventually(lambda router=router: states(router.pools) == ["ended"])  # type: ignore[misc]
        assert (await ask(two.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 204
        await eventually(lambda: one.directory.jobs.get(wanted.uid) is None)
        await eventually(lambda: not host.jobs.jobs())


async def test_a_job_is_cancelled_that_another_router_gives_to_an_idle_agent(
    settings: Settings, tmp_path: Path
) -> None:
    """At each moment of the delivery the job ends, and the agent stays."""
    async with running_routers(settings, tmp_path, 2, p=pool_of(*JOIN)) as ((one, two), _):
        first = job()
        await one.pools.request("p", {}, first)
        await eventually(lambda: has_arrived(one, first.uid) and has_arrived(two, first.uid))
        await one.directory.remove(first.uid)
        agent = two.directory.table.agent(requests(two.pools)[0].agent_uid)
        assert agent is not None
        for turn in range(6):
            await eventually(lambda: not two.directory.busy(agent))
            wanted = job()
            await one.pools.request("p", {}, wanted)
            await eventually(lambda wanted=wanted: two.directory.jobs.get(wanted.uid) is not None)  # type: ignore[misc]
            await asyncio.sleep(turn * 0.01)
            assert (await ask(two.control_port, "DELETE", f"/v1/jobs/{wanted.uid}")).status == 204
            await eventually(lambda wanted=wanted: one.directory.jobs.get(wanted.uid) is None)  # type: ignore[misc]
        assert states(one.pools)[0] == "connected"


@pytest.mark.slow
async def test_an_agent_for_one_job_survives_a_restart(settings: Settings, tmp_path: Path) -> None:
    """It comes back after its request, and before it has listed its job."""
    base = router_settings(access=Access(keys_file=keys_in(tmp_path)), pools={"p": pool_of(*JOIN)})
    wanted = job(is_single=True)
    async with running_router(base) as router:
        port = router.server_port
        async with running_host(settings, port) as host:
            await connected(router, HOST)
            await router.pools.request("p", {}, wanted)
            await eventually(lambda: has_arrived(router, wanted.uid))
            (agent,) = agents_of_pools()
            agent.suspend()
            router.end(0)
            await router.stop()
            async with running_router(replace(base, server=replace(base.server, port=port))) as second:
                await eventually(lambda: requests(second.pools) != ())
                agent.resume()
                await eventually(lambda: second.directory.jobs.get(wanted.uid) is not None)
                link = await connected(second, requests(second.pools)[0].agent_uid)
                await asyncio.sleep(2.5)
                assert (await link.call("host_info"))["cordoned"] is False
                assert states(second.pools) == ["connected"]
                assert (await ask(second.control_port, "GET", f"/jobs/-/{wanted.uid}/http/")).status == 200
                await second.directory.remove(wanted.uid)  # the agent ends with its job
                await eventually(lambda: states(second.pools) == ["ended"] and not host.jobs.jobs())
