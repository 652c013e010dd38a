"""``job_figures``, as a peer of pAgent calls it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.agent import Agent
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, CallFailed, Peer

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"], instance="one", uid="ours") as dialled:
        yield dialled


async def start(peer: Peer, **options: Any) -> int:
    call = await peer.start(peers.ISTREAM, "job_figures", **options)
    await peer.send([10, call, 1 << 30])
    return call


async def next_of(peer: Peer, call: int) -> dict[str, list[Any]]:
    message = await peer.next_of(call)
    assert message[0] == 8, message
    value: dict[str, list[Any]] = message[2]
    return value


async def test_first_all_jobs_and_then_what_has_changed(ours: Peer) -> None:
    idle, busy = [(await ours.call("job_create", name))["uid"] for name in ("idle", "busy")]
    await ours.call("job_start", busy, BUSY, {}, None, 0)
    call = await start(ours, interval=0.5)
    first = await next_of(ours, call)
    assert first.keys() == {idle, busy}
    assert first[idle][:5] == [None, None, 0, 0, 0]
    async with asyncio.timeout(PATIENCE_S):
        while True:
            following = await next_of(ours, call)
            assert following.keys() == {busy}
            cpu, memory = following[busy][:2]
            if cpu and memory:
                break


async def test_jobs_of_other_realms_are_not_in_it(agent: Agent, ours: Peer) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, uid="field") as same_token:
        mine = (await ours.call("job_create", "mine"))["uid"]
        same = (await same_token.call("job_create", "same"))["uid"]
        assert (await next_of(ours, await start(ours))).keys() == {mine, same}


@pytest.mark.parametrize("interval", [0.4, -1, "1", None, float("nan")])
async def test_wrong_intervals(interval: Any, ours: Peer) -> None:
    call = await start(ours, interval=interval)
    with pytest.raises(CallFailed):
        await ours.outcome(call)
