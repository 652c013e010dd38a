"""No peer holds the loop: a trivial call every millisecond on another link is answered all the while."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.kit.agents import agent_process
from tests.kit.probe import STALL_S, probing


async def test_the_probe_sees_a_loop_that_is_held(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent, probing(agent) as probe:
        assert await probe.longest_s() < STALL_S
        agent.signal(signal.SIGSTOP)
        await asyncio.sleep(2 * STALL_S)
        agent.signal(signal.SIGCONT)
        assert await probe.longest_s() > 1.9 * STALL_S
        assert await probe.longest_s() < STALL_S
