"""The agents of a pool over several routers: never more than ``max``, and a job for each request."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.config.model import ClientSettings, DialledRouter, Settings
from pagent.config.router import Access
from pagent.router import Router
from tests.kit.agents import TOKEN, running_agent
from tests.kit.pools import HOST, keys_in, pool_of, states
from tests.kit.routers import connected, router_settings, running_router
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
    pools = {"p": pool_of("sh", "-c", script, max=MOST)}
    access = Access(keys_file=keys_in(tmp_path))
    async with AsyncExitStack() as stack:
        site = [
            await stack.enter_async_context(running_router(router_settings(access=access, pools=pools)))
            for _ in range(routers)
        ]
        addresses = tuple(DialledRouter(f"127.0.0.1:{router.server_port}") for router in site)
        client = ClientSettings(enabled=True, address=addresses, token=TOKEN)
        identity = replace(settings.identity, uid=HOST)
        await stack.enter_async_context(running_agent(replace(settings, client=client, identity=identity)))
        for router in site:
            await connected(router, HOST)
        answers = await asyncio.gather(*(_ask(site[number % routers]) for number in range(10)))
        assert answers == [202] * 10
        for router in site:
            await eventually(lambda router=router: states(router.pools) == ["ended"] * 10)  # type: ignore[misc]
    counts = [json.loads(line) for line in (tmp_path / "counts").read_text().splitlines()]
    assert len(counts) == 10
    assert max(counts) <= MOST


async def _ask(router: Router) -> int:
    return (await Portal(router.control_port).ask("POST", "/v1/jobs", {"agent": {"pool": "p"}})).status
