"""The output of a command whose agent fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from pagent.errors import MethodError, ServerError
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.engine import Engine
from pagent.relay.pools.request import PoolRequest
from pagent.rpc.aio import StreamCall

REQUEST = cast(PoolRequest, SimpleNamespace(command="command"))


class Agent:
    """An agent that is connected, and answers each call with ``error``. ``called`` is set by the second call."""

    def __init__(self, error: Exception) -> None:
        self.calls = 0
        self.called = asyncio.Event()
        self._error = error

    def open_stream(self, *_: Any, **__: Any) -> StreamCall:
        self.calls += 1
        if self.calls == 2:
            self.called.set()
        raise self._error


def engine_of(agent: Agent) -> Engine:
    """Return the engine of a router that always has a link to the agent."""

    async def found(*_: Any) -> Agent:
        return agent

    table, jobs = SimpleNamespace(next_link=found), SimpleNamespace(agent_of=lambda uid: "key")
    return Engine(cast(AgentDirectory, SimpleNamespace(locate=found, table=table, jobs=jobs)))


async def test_an_agent_that_fails_at_once_is_not_asked_without_a_pause() -> None:
    agent = Agent(ServerError("too many calls"))
    following = asyncio.ensure_future(engine_of(agent).follow(REQUEST))
    await agent.called.wait()  # for both outputs
    for _ in range(100):
        await asyncio.sleep(0)
    assert agent.calls < 10
    following.cancel()
    await asyncio.wait((following,))


async def test_a_job_that_is_gone_has_no_more_output() -> None:
    agent = Agent(MethodError("x", "JobNotFoundError", ""))
    await engine_of(agent).follow(REQUEST)
    assert agent.calls == 2
