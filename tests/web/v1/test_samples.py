"""``GET /v1/events?samples=1``: samples and figures, to whom, and what they cost when no client listens."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pagent.access.dashboard import ANONYMOUS
from pagent.client import AgentClient, connect_agent
from pagent.config.router import Access
from pagent.router import Router
from pagent.rpc.directory import Subject
from pagent.web.v1.samples import Samples
from tests.access.conftest import token
from tests.kit.directory import OpenGate
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import agent_of, ask, router_settings, running_router

KEYS = {
    *("time", "agents", "jobs", "streams", "requests_per_s", "received_per_s", "sent_per_s"),
    *("latency_p50_s", "latency_p99_s", "cpu", "memory"),
}
SERVER = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as running:
        yield running


class Events:
    """A stream of events."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def until(self, name: str) -> Any:
        """The data of the next event of this name. One with samples has no id."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event = (await self._reader.readuntil(b"\n\n")).decode()
                lines = [line for line in event.split("\n") if ": " in line]
                fields = dict(line.split(": ", 1) for line in lines)
                if fields.get("event") == name:
                    assert "id" not in fields
                    return json.loads(fields["data"])


@asynccontextmanager
async def events(port: int, *fields: str, query: str = "?samples=1") -> AsyncIterator[Events]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"GET /v1/events{query} HTTP/1.0", "Host: localhost", *fields, "", ""]
        writer.write("\r\n".join(lines).encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        yield Events(reader)
    finally:
        writer.close()


def measuring(router: Router) -> list[object]:
    """The calls for figures that are open."""
    return [agent.measuring for agent in router.directory.table if agent.measuring is not None]


async def until_not_measuring(router: Router) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while measuring(router):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def served_job(router: Router) -> AsyncIterator[tuple[AgentClient, str]]:
    """A client of the router, and the uid of its job that serves HTTP."""
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client:
        job = await client.create_job("server")
        await job.start(SERVER, port="auto", ready="connect")
        yield client, job.uid


async def test_samples_and_figures_of_a_job(router: Router, tmp_path: Path) -> None:
    async with agent_of(router, tmp_path), served_job(router) as (_, uid), events(router.control_port) as stream:
        sample = await stream.until("sample")
        assert sample.keys() == KEYS
        assert (sample["agents"], sample["jobs"]) == (1, 1)
        assert sample["cpu"] is not None
        figures = (await stream.until("figures"))["jobs"]
        assert figures.keys() == {uid}
        cpu, memory, streams, received, sent, idle_s = figures[uid]
        assert (streams, received, sent) == (0, 0, 0)
        assert cpu is None or cpu >= 0  # known from the second measurement on
        assert memory > 1_000_000
        assert 0 <= idle_s < PATIENCE_S * 2
        assert (await ask(router.control_port, "GET", f"/jobs/-/{uid}/http/")).status == 200
        post = [("Content-Length", "5000")]
        assert (await ask(router.control_port, "POST", f"/jobs/-/{uid}/http/", b"x" * 5000, post)).status == 501
        async with asyncio.timeout(PATIENCE_S):
            while received < 5000 or sent < 100:
                _, _, _, received, sent, _ = (await stream.until("figures"))["jobs"][uid]


async def test_without_listeners_nothing_is_measured(router: Router, tmp_path: Path) -> None:
    async with agent_of(router, tmp_path), served_job(router):
        async with events(router.control_port, query=""):
            assert measuring(router) == []
        async with events(router.control_port) as first, events(router.control_port):
            await first.until("sample")
            assert len(measuring(router)) == 1
        await until_not_measuring(router)
        async with events(router.control_port) as again:
            assert (await again.until("figures"))["jobs"]


async def test_an_agent_that_comes_later_is_measured_too(router: Router, tmp_path: Path) -> None:
    async with events(router.control_port) as stream:
        assert (await stream.until("sample"))["agents"] == 0
        async with agent_of(router, tmp_path), served_job(router) as (_, uid):
            assert (await stream.until("figures"))["jobs"].keys() == {uid}


async def test_a_removed_job_has_no_figures(router: Router, tmp_path: Path) -> None:
    async with agent_of(router, tmp_path), served_job(router) as (client, uid):
        async with events(router.control_port) as stream:
            await stream.until("figures")
            await (await client.job(uid)).remove()
            other = await client.create_job("other")
            while uid in (figures := (await stream.until("figures"))["jobs"]):
                pass  # it was measured again before it was removed
            assert figures.keys() == {other.uid}
        async with events(router.control_port) as stream:
            assert (await stream.until("figures"))["jobs"].keys() == {other.uid}


async def test_figures_are_of_the_jobs_that_the_caller_may_see(tmp_path: Path) -> None:
    access = Access(tokens=(token("ann", "read", "jobs"), token("bob", "read", "jobs")))
    async with running_router(router_settings(access=access)) as router, agent_of(router, tmp_path):
        uids = {}
        for name in ("ann", "bob"):
            async with connect_agent(f"127.0.0.1:{router.control_port}", token=f"secret-{name}") as client:
                uids[name] = (await client.create_job(name, linger=600.0)).uid
        for name, uid in uids.items():
            async with events(router.control_port, f"Authorization: Bearer secret-{name}") as stream:
                assert (await stream.until("figures"))["jobs"].keys() == {uid}


@pytest.mark.parametrize("value", ["2", "", "true", "1&samples=1"])
async def test_wrong_values(value: str, router: Router) -> None:
    assert (await ask(router.control_port, "GET", f"/v1/events?samples={value}")).status == 400


# --- without a router -------------------------------------------------------------------------------


class Row:
    def __init__(self, version: int, *values: float | None) -> None:
        self.version = version
        self.values = values


class Table:
    """Figures as a test has set them."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: dict[str, Row] = {}
        self.listeners = 0

    def set(self, uid: str, *values: float | None) -> None:
        self.version += 1
        self.rows[uid] = Row(self.version, *values)

    def listening(self) -> Any:
        return self

    def __enter__(self) -> None:
        self.listeners += 1

    def __exit__(self, *error: object) -> None:
        self.listeners -= 1

    def sample(self) -> dict[str, Any]:
        return {"time": 0}

    # As the routes.

    @property
    def live(self) -> Any:
        return self

    def job(self, uid: str) -> Any:
        return type("Job", (), {"agent_uid": "A", "labels": {}})


async def rounds(samples: Samples, count: int) -> None:
    """Wait for samples."""
    last = samples.number + count
    async with asyncio.timeout(PATIENCE_S):
        while samples.number < last:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_slow_stream_gets_the_latest_figures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.web.v1.samples._SAMPLE_S", 0.02)
    table, woken, gate = Table(), list[int](), OpenGate()
    samples = Samples(table, lambda: woken.append(1))  # type: ignore[arg-type]
    table.set("a", 1)
    with samples.stream(gate, ANONYMOUS) as slow, samples.stream(gate, Subject(None)) as other:
        await rounds(samples, 3)
        assert b'{"a":[1]}' in b"".join(slow.take())
        for value in (2, 3, 4):
            table.set("b", value)
            await rounds(samples, 3)
        assert slow.take()[1:] == [b'event: figures\ndata: {"jobs":{"b":[4]}}\n\n']
        assert slow.take() == []
        assert b'{"a":[1],"b":[4]}' in b"".join(other.take())
        assert table.listeners == 1
    assert table.listeners == 0
    assert woken


async def test_many_jobs_are_several_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.web.v1.samples._SAMPLE_S", 0.02)
    table, gate = Table(), OpenGate()
    for number in range(1200):
        table.set(f"{number}", number)
    samples = Samples(table, lambda: None)  # type: ignore[arg-type]
    with samples.stream(gate, ANONYMOUS) as stream:
        await rounds(samples, 3)
        pieces = stream.take()[1:]
        assert [piece.count(b":[") for piece in pieces] == [500, 500, 200]
