"""The agents of a pool over several routers: never more than ``max``, and a job for each request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pagent.config.model import Settings
from pagent.router import Router
from tests.kit.pools import pool_of, running_routers, states
from tests.kit.transfers import eventually
from tests.web.v1.portal import Portal

MOST = 2

#: It notes how many run at once, and ends soon: no agent comes.
COUNTS = """
mkdir {folder}/run-$$
ls -d {folder}/run-* | wc -l >> {folder}/counts
sleep 0.1
rmdir {folder}/run-$$
exit 1
"""


@pytest.mark.parametrize("routers", [1, 2])
async def test_max_over_routers(settings: Settings, tmp_path: Path, routers: int) -> None:
    script = COUNTS.replace("{folder}", str(tmp_path))
    pool = pool_of("sh", "-c", script, max=MOST)
    async with running_routers(settings, tmp_path, routers, p=pool) as (site, _):
        answers = await asyncio.gather(*(_ask(site[number % routers]) for number in range(10)))
        assert answers == [202] * 10
        for router in site:
            await eventually(lambda router=router: states(router.pools) == ["ended"] * 10)  # type: ignore[misc]
    counts = [json.loads(line) for line in (tmp_path / "counts").read_text().splitlines()]
    assert len(counts) == 10
    assert max(counts) <= MOST


async def _ask(router: Router) -> int:
    return (await Portal(router.control_port).ask("POST", "/v1/jobs", {"agent": {"pool": "p"}})).status
