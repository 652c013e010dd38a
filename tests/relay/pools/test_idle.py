"""Idle agents that get another job: which of them, and one job for each with several routers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pagent.config.model import Settings
from pagent.relay.host import HostReport
from pagent.relay.pools.idle import has_time
from tests.kit.pools import JOIN, has_arrived, job, keys_in, pool_of, requests, running_pools, running_routers
from tests.kit.transfers import eventually

NOW = 1_000_000.0
QUICK = {"args": ["sleep", "600"], "env": {}, "port_expected_count": 0}


@pytest.mark.parametrize(
    ("started_at", "deadline", "timeout", "result"),
    [
        (None, None, None, False),  # its figures have not come
        (NOW - 50, None, 1e6, True),
        (NOW - 50, NOW + 119, None, False),
        (NOW - 50, NOW + 121, None, True),
        (NOW - 7000, NOW + 1000, None, False),
        (NOW - 900, NOW + 1000, None, True),
        (NOW - 900, NOW + 1000, 971, False),
        (NOW - 900, NOW + 1000, 969, True),
        (NOW - 900, NOW - 1, None, False),
    ],
)
def test_the_time_that_is_left(
    started_at: float | None, deadline: float | None, timeout: float | None, result: bool
) -> None:
    host = HostReport(started_at=started_at, deadline=deadline)
    assert has_time(host, job(start={**QUICK, "timeout": timeout}), NOW) is result
    if timeout is None:
        assert has_time(host, job(start=None), NOW) is result


async def test_an_agent_whose_time_ends_soon_gets_no_other_job(settings: Settings, tmp_path: Path) -> None:
    script = f"SLURM_JOB_END_TIME={time.time() + 300:.0f} exec {' '.join(JOIN)}"
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("sh", "-c", script)) as (router, _):
        first, second = job(start=QUICK), job(start={**QUICK, "timeout": 290})
        await router.pools.request("p", {}, first)
        await eventually(lambda: has_arrived(router, first.uid))
        await router.directory.remove(first.uid)
        await router.pools.request("p", {}, second)
        await eventually(lambda: has_arrived(router, second.uid))
        assert [each.job.uid for each in requests(router.pools)] == [first.uid, second.uid]


async def test_the_order_of_parameters_is_of_no_account(settings: Settings, tmp_path: Path) -> None:
    pool = pool_of("sh", "-c", f"exec {' '.join(JOIN)}", "{one}", "{two}")
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, _):
        first, second = job(start=QUICK), job(start=QUICK)
        await router.pools.request("p", {"one": "1", "two": "2"}, first)
        await eventually(lambda: has_arrived(router, first.uid))
        await router.directory.remove(first.uid)
        await router.pools.request("p", {"two": "2", "one": "1"}, second)
        await eventually(lambda: has_arrived(router, second.uid))
        assert len(requests(router.pools)) == 1


async def test_two_routers_give_one_job_to_one_idle_agent(settings: Settings, tmp_path: Path) -> None:
    async with running_routers(settings, tmp_path, 2, p=pool_of(*JOIN)) as ((one, two), _):
        first, second, third = (job(start=QUICK) for _ in range(3))
        await one.pools.request("p", {}, first)
        await eventually(lambda: has_arrived(one, first.uid))
        await eventually(lambda: two.directory.jobs.get(first.uid) is not None and len(two.pools.agents("p")) == 1)
        await two.directory.remove(first.uid)
        await eventually(lambda: one.directory.jobs.get(first.uid) is None)
        await asyncio.gather(one.pools.request("p", {}, second), two.pools.request("p", {}, third))
        await eventually(lambda: has_arrived(one, second.uid) and has_arrived(one, third.uid))
        places = [one.directory.jobs.get(each.uid) for each in (second, third)]
        assert len({place.agent_uid for place in places if place is not None}) == 2
        assert len(requests(one.pools)) == 2
