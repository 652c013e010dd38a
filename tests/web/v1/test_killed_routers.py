"""A creation with a key is repeated at a router that has nothing of the one that was killed in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from pagent.errors import JobInvalidStateError
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.methods import ostream, unary
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, running_router
from tests.kit.watched import Watched, listed, watched_agent, watched_link
from tests.web.v1.portal import Portal

WANTED = {"key": "k", "files": [{"path": "a", "text": "b"}], "start": {"args": ["x"]}}


class Keeper(Watched):
    """An agent whose link is cut at one of its calls: before it does what is asked, or before it answers."""

    def __init__(self, *cut_at: str) -> None:
        super().__init__()
        self._cut_at = cut_at
        self.cut = asyncio.Event()
        self.link: Connection | None = None
        self.creations = self.starts = 0

    def _passed(self, *point: str) -> None:
        if point == self._cut_at and not self.cut.is_set():
            assert self.link is not None
            self.link.link.abort("the router is killed")
            self.cut.set()
            raise JobInvalidStateError("this answer is not sent")

    @unary
    async def job_create(self, call: IncomingCall, name: str | None = None, **given: Any) -> Any:
        self._passed("job_create", "before")
        if given["uid"] not in self.jobs:
            self.creations += 1
            self.jobs[given["uid"]] = {"name": name, "state": "NEW", "created_at": 1.0, **given}
        self._passed("job_create", "after")
        return self.jobs[given["uid"]]

    @ostream
    async def file_upload(self, call: IncomingCall, job_uid: str, path: str, executable: bool = False) -> int:
        self._passed("file_upload", "before")
        assert call.stream is not None
        data = b"".join([piece async for piece in AsyncStream(call.stream)])
        self._passed("file_upload", "after")
        return len(data)

    @unary
    async def job_start(self, call: IncomingCall, job_uid: str, args: list[str], env: dict[str, str]) -> Any:
        self._passed("job_start", "before")
        if self.jobs[job_uid]["state"] != "NEW":
            raise JobInvalidStateError("the job was started")
        self.starts += 1
        self.jobs[job_uid]["state"] = "RUNNING"
        self._passed("job_start", "after")
        return self.jobs[job_uid]


@pytest.mark.parametrize("method", ["job_create", "file_upload", "job_start"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_no_job_is_doubled_or_lost(method: str, when: str) -> None:
    agent = Keeper(method, when)
    async with running_router() as first, watched_link(first, "A", agent) as agent.link:
        await listed(await connected(first, "A"))
        request = asyncio.ensure_future(Portal(first.control_port).ask("POST", "/v1/jobs", WANTED))
        async with asyncio.timeout(PATIENCE_S):
            await agent.cut.wait()
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
    async with running_router() as second, watched_agent(second, "A", agent):
        for status in (200 if (method, when) == ("job_start", "after") else 201, 200):
            answer = await Portal(second.control_port).ask("POST", "/v1/jobs", WANTED)
            assert (answer.status, answer.json["state"]) == (status, "RUNNING"), answer
        assert (agent.creations, agent.starts, len(agent.jobs)) == (1, 1, 1)
