"""Many requests at once, and none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pagent.config.model import Settings
from tests.kit.pools import JOIN, job, keys_in, pool_of, requests, running_pools
from tests.kit.transfers import eventually

REQUESTS = 50
MOST = 20
QUICK: dict[str, Any] = {"args": ["true"], "env": {}, "port_expected_count": 0}


@pytest.mark.slow
async def test_more_requests_than_agents(settings: Settings, tmp_path: Path) -> None:
    """Each client removes its job when it has ended, and so its agent gets the next one."""
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN, max=MOST)) as (router, host):
        most = 0

        async def one() -> str:
            nonlocal most
            wanted = job(start=QUICK)
            await router.pools.request("p", {}, wanted)
            while (record := router.directory.jobs.get(wanted.uid)) is not None and record.state != "FINISHED":
                most = max(most, len(router.pools.agents("p")))
                await router.directory.jobs.changed(wanted.uid)
            assert record is not None
            await router.directory.remove(wanted.uid)
            return str(record.info()["exit_code"])

        async with asyncio.timeout(240):
            assert await asyncio.gather(*(one() for _ in range(REQUESTS))) == ["0"] * REQUESTS
        assert most <= MOST
        assert len(host.jobs.jobs()) <= MOST
        assert {each.error for each in requests(router.pools)} == {None}
        for agent in [agent for agent in router.directory.table if agent.uid in router.pools.agents("p")]:
            await agent.call("host_end", 0.0)
        await eventually(lambda: not host.jobs.jobs())


async def test_a_pool_without_requests_has_no_tasks_and_no_timers(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of(*JOIN)) as (router, _):
        assert router.pools.running == 0
        wanted = job()
        await router.pools.request("p", {}, wanted)
        assert router.pools.running > 0
        await router.pools.cancel(wanted.uid)
        await eventually(lambda: router.pools.running == 0)
