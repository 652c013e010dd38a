"""``pagent forward`` with several ports, and with jobs that are not ready."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from pagent.client import AgentClient, RemoteJob, connect_agent
from pagent.jobs.given_ports import free_port
from tests.cli.run.test_attached import SEVERAL
from tests.kit.agents import TOKEN
from tests.kit.commands import pagent
from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess


@asynccontextmanager
async def an_agent(place: RemoteProcess, tmp_path: Path) -> AsyncIterator[tuple[AgentClient, list[str]]]:
    """Yield a client of the agent and the options of a command for it."""
    (tmp_path / "here").mkdir()
    async with connect_agent(place.address, token=TOKEN) as client:
        yield client, place.options


async def with_two_ports(client: AgentClient) -> tuple[RemoteJob, list[int]]:
    job = await client.create_job()
    command = [sys.executable, "-c", SEVERAL, "x", "{port}", "{port:db}"]
    info = await job.start(command, port="auto", ready="connect", more_ports={"db": "auto"})
    return job, info["ports"]


async def number_at(port: int) -> int:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = int(await reader.read())
        writer.close()
        return number


async def test_all_ports_of_a_job(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, ports = await with_two_ports(client)
        with pagent(tmp_path / "here", "forward", *there, job.uid, url=False) as running:
            said = rf"^pagent: 127\.0\.0\.1:(\d+) forwards to the job's port {ports[1]}$"
            second = int((await asyncio.to_thread(running.said, said))[1])
            main = int((await asyncio.to_thread(running.said, r"127\.0\.0\.1:(\d+) forwards to the job;"))[1])
            assert [await number_at(main), await number_at(second)] == ports
            running.ctrl_c()
            assert (await asyncio.to_thread(running.ended))[0] == 130
        assert (await job.info())["state"] == "RUNNING"


@contextmanager
def few_descriptors() -> Iterator[int]:
    """Lower the soft limit of descriptors, and yield the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_connections_have_all_descriptors_that_the_process_may_have(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, _ = await with_two_ports(client)
        with few_descriptors() as hard, pagent(tmp_path / "here", "forward", *there, job.uid, url=False) as running:
            await asyncio.to_thread(running.said, "forwards to the job;")
            assert resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
            running.ctrl_c()
            await asyncio.to_thread(running.ended)


async def test_chosen_ports_of_a_job(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, ports = await with_two_ports(client)
        local, other = free_port(), free_port()
        publish = ["-p", f"{local}:{ports[1]}", "-p", f"{other}:{ports[0]}"]
        with pagent(tmp_path / "here", "forward", *there, *publish, job.uid) as running:
            assert running.port == local
            assert [await number_at(local), await number_at(other)] == ports[::-1]
            running.ctrl_c()
            assert (await asyncio.to_thread(running.ended))[0] == 130


async def test_a_mapping_without_a_job_port_is_ambiguous(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, ports = await with_two_ports(client)
        with pagent(tmp_path / "here", "forward", *there, "-p", "0", job.uid, url=False) as running:
            outcome = await asyncio.to_thread(running.ended)
    words = f"the job has the ports {ports[0]}, {ports[1]}: choose one with -p LOCAL:JOB"
    assert outcome == (1, "", f"pagent: {words}\n")


async def test_waits_for_a_job_that_is_starting(place: RemoteProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n{SEVERAL}"
    async with an_agent(place, tmp_path) as (client, there):
        job = await client.create_job()
        command = [sys.executable, "-c", script, "x", "{port}"]
        start = asyncio.create_task(job.start(command, port="auto", ready="connect"))
        while (await job.info())["state"] != "PENDING":  # noqa: ASYNC110 - the agent reports no event
            await asyncio.sleep(0.01)
        with pagent(tmp_path / "here", "forward", *there, job.uid, url=False) as running:
            words = f"^pagent: waiting for job {job.uid} to start$"
            await asyncio.to_thread(running.said, words)
            go.touch()
            (port,) = (await start)["ports"]
            said = r"127\.0\.0\.1:(\d+) forwards to the job; press Ctrl-C to stop"
            url = await asyncio.to_thread(running.said, said)
            assert await number_at(int(url[1])) == port
            await job.kill()
            assert await asyncio.to_thread(running.ended) == (0, "", "pagent: the job has ended by SIGTERM\n")


async def test_a_local_port_that_is_in_use(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, _ = await with_two_ports(client)
        with socket.create_server(("127.0.0.1", 0)) as server:
            local = server.getsockname()[1]
            publish = ["-p", f"{local}:{(await job.info())['ports'][0]}"]
            with pagent(tmp_path / "here", "forward", *there, *publish, job.uid, url=False) as running:
                code, _, stderr = await asyncio.to_thread(running.ended)
    assert code == 1
    assert re.fullmatch(rf"pagent: cannot listen on 127\.0\.0\.1:{local}: .*; choose another with -p\n", stderr)


class Relay:
    """Passes connections on to a port, and cuts them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, onward]
        await asyncio.gather(self._copy(reader, onward), self._copy(back, writer))

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


async def test_a_lost_link_is_made_again(place: RemoteProcess, tmp_path: Path) -> None:
    async with an_agent(place, tmp_path) as (client, there):
        job, ports = await with_two_ports(client)
        relay = Relay(place.port)
        async with await asyncio.start_server(relay.accepted, "127.0.0.1", 0) as server:
            there[there.index("--agent") + 1] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pagent(tmp_path / "here", "forward", *there, "-p", f":{ports[0]}", job.uid, url=False) as running:
                said = await asyncio.to_thread(running.said, r"127\.0\.0\.1:(\d+) forwards to the job;")
                assert await number_at(int(said[1])) == ports[0]
                relay.cut()
                await asyncio.to_thread(running.said, "^pagent: the link is lost; it is made again$")
                await asyncio.to_thread(running.said, "^pagent: the link is back$")
                assert await number_at(int(said[1])) == ports[0]
                await job.kill()
                assert await asyncio.to_thread(running.ended) == (0, "", "pagent: the job has ended by SIGTERM\n")
            relay.cut()
        await job.remove()
