"""An agent that is watched: its jobs are infos that a test makes, and it sends the messages that the test sets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pagent.errors import JobNotFoundError
from pagent.net.dial import Address, dial
from pagent.relay.agent import ConnectedAgent
from pagent.router import Router
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.methods import istream, methods_of, unary
from pagent.wire import identity
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected


class Watched:
    """The methods of the agent. ``jobs``: their infos by uid; ``calls``: the names of the calls of other methods.

    A watch that is made while ``listing`` is clear lists the jobs once it is set.
    """

    def __init__(self, *jobs: str, host: dict[str, Any] | None = None) -> None:
        self.jobs: dict[str, dict[str, Any]] = {uid: {"uid": uid, "state": "NEW", "labels": {}} for uid in jobs}
        self.notes: dict[tuple[str, str], bytes] = {}
        self.host = host or {}
        self.calls: list[str] = []
        self.watches = 0
        self.begun = asyncio.Event()
        self.listing = asyncio.Event()
        self.listing.set()
        self._streams: list[AsyncStream] = []

    @istream
    async def agent_watch(self, call: IncomingCall, interval: float = 10.0) -> None:
        assert call.stream is not None
        stream = AsyncStream(call.stream)
        self.watches += 1
        self.begun.set()
        await stream.send({"host": self.host})
        jobs = list(self.jobs.values())
        await self.listing.wait()
        await stream.send({"jobs": jobs})
        for (uid, name), value in self.notes.items():
            await stream.send({"note": [uid, name, value]})
        await stream.send({"ready": True})
        self._streams.append(stream)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._streams.remove(stream)

    @unary
    def job_create(self, call: IncomingCall, name: str | None = None, **given: Any) -> Any:
        self.calls.append("job_create")
        info = self.jobs[given["uid"]] = {"name": name, "state": "NEW", "labels": {}, **given}
        return info

    @unary
    def job_info(self, call: IncomingCall, job_uid: str) -> Any:
        self.calls.append("job_info")
        if job_uid not in self.jobs:
            raise JobNotFoundError(job_uid)
        return self.jobs[job_uid]

    @unary
    async def job_remove(self, call: IncomingCall, job_uid: str) -> Any:
        self.calls.append("job_remove")
        if job_uid not in self.jobs:
            raise JobNotFoundError(job_uid)
        info = self.jobs.pop(job_uid)
        await self.say({"removed": job_uid})
        return info

    @unary
    def job_adopt(self, call: IncomingCall, job_uid: str) -> Any:
        return self.jobs[job_uid]

    @unary
    async def job_note(
        self, call: IncomingCall, job_uid: str, name: str, value: bytes, ttl: float | None = None
    ) -> bool:
        self.calls.append(f"job_note {name.split('-')[0]}")
        self.notes[job_uid, name] = value
        await self.say({"note": [job_uid, name, value]})
        return True

    @unary
    def job_count_current_connection(self, call: IncomingCall) -> Any:
        self.calls.append("job_count_current_connection")
        return len(self.jobs)

    async def say(self, *messages: Any) -> None:
        """Send messages to all watchers."""
        for stream in self._streams:
            for message in messages:
                await stream.send(message)

    async def change(self, job_uid: str, **info: Any) -> None:
        """Change a job, or make it."""
        self.jobs[job_uid] = {"uid": job_uid, "state": "NEW", "labels": {}, **self.jobs.get(job_uid, {}), **info}
        await self.say({"job": self.jobs[job_uid]})


@asynccontextmanager
async def watched_link(
    router: Router, uid: str, service: object, *, instance: str | None = None, replaces: str | None = None
) -> AsyncIterator[Connection]:
    """A link of such an agent to a router; the router may not have admitted it yet."""
    link = Connection(
        dialled=True,
        user_data=identity.user_data(uid, "watched", token=TOKEN),
        methods=methods_of(service),
        instance=instance or secrets.token_hex(16),
        replaces=replaces,
    )
    await dial(Address("127.0.0.1", router.server_port), link)
    try:
        await link.ready
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def watched_agent(router: Router, uid: str, service: Watched) -> AsyncIterator[ConnectedAgent]:
    """Such an agent, once the router knows its jobs."""
    async with watched_link(router, uid, service):
        agent = await connected(router, uid)
        await listed(agent)
        yield agent


async def listed(agent: ConnectedAgent) -> None:
    """Wait until the router knows the jobs of an agent."""
    async with asyncio.timeout(PATIENCE_S):
        while not agent.is_watched:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


async def known(router: Router, job_uid: str, state: str | None) -> None:
    """Wait until a router knows a job in this state; None: until it does not know the job."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            record = router.directory.jobs.get(job_uid)
            if (record and record.state) == state:
                return
            await asyncio.sleep(0.005)
