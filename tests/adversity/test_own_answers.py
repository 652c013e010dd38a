"""No request is answered with another's answer, and none is made twice, while links and jobs break."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pagent.errors import CallError, LinkClosedError, RequestRefusedError
from tests.kit.agents import TOKEN, agent_process
from tests.kit.cutting import cutting_relay
from tests.kit.programs import serving
from tests.kit.routers import connected, running_router
from tests.kit.wire import wire

pytestmark = pytest.mark.slow

CLIENTS = 6
REQUESTS = 40  # of each client
CUT_EVERY = 300_000  # bytes
#: The job is killed, and another one started, after each of these numbers of requests.
KILLS = (80, 160)
METHODS = ("GET", "POST", "HEAD", "POST", "PUT")

#: Writes each request to the file of its second argument, and answers with the number and the digest of the body.
JOB = serving(r"""
import hashlib
seen = open(sys.argv[2], "a", buffering=1)

async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.split("\r\n")
            method, target, _ = line.split(" ")
            number = int(target.rpartition("/")[2])
            seen.write(f"{method} {number}\n")
            fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
            if "expect" in fields:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = b""
            if fields.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(fields.get("content-length", 0)))
            answer = f"{method} {number} {hashlib.sha256(body).hexdigest()} ".encode() * (1 + number % 50)
            writer.write(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n" % number)
            if number % 2:
                writer.write(b"Content-Length: %d\r\n\r\n" % len(answer) + (b"" if method == "HEAD" else answer))
            else:
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                if method != "HEAD":
                    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
""")


class Numbered(NamedTuple):
    number: int

    @property
    def method(self) -> str:
        return METHODS[self.number % len(METHODS)]

    @property
    def body(self) -> bytes:
        size = (0, 10, 5_000, 60_000)[self.number % 4] if self.method in ("POST", "PUT") else 0
        return hashlib.sha256(b"%d" % self.number).digest() * (size // 32)

    def encoded(self, job: str) -> bytes:
        body = self.body
        fields = b"Expect: 100-continue\r\n" if self.number % 7 == 0 and body else b""
        if self.number % 3:
            fields += b"Content-Length: %d\r\n\r\n" % len(body) + body
        elif body:
            fields += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            fields += b"\r\n"
        head = f"{self.method} /jobs/-/{job}/http/{self.number} HTTP/1.1\r\nHost: localhost\r\n"
        return head.encode() + fields

    @property
    def answer(self) -> bytes:
        digest = hashlib.sha256(self.body).hexdigest()
        text = f"{self.method} {self.number} {digest} ".encode() * (1 + self.number % 50)
        return b"" if self.method == "HEAD" else text


class Clients:
    """Make requests, three or so on each connection, some sent ahead. ``wrong``: answers that are not theirs."""

    def __init__(self, port: int, job: Callable[[], str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong: list[tuple[Numbered, object]] = []
        self.done = asyncio.Condition()
        self.count = 0
        self._port = port
        self._job = job

    async def run(self, first: int) -> None:
        at = first
        while (began := at) < first + REQUESTS:
            async with wire(self._port) as client:
                try:
                    for _ in range(3):
                        ahead = [Numbered(each) for each in range(at, at + 1 + at % 2)]
                        at += len(ahead)
                        client.say(b"".join([each.encoded(self._job()) for each in ahead]))
                        for each in ahead:
                            answer = await client.answer(head_request=each.method == "HEAD")
                            self._judge(each, answer.status, answer.value("X-Number"), answer.body)
                except (ConnectionError, asyncio.IncompleteReadError, ValueError):  # a chunk that is cut is no number
                    self.statuses["cut"] += 1
            async with self.done:
                self.count += at - began
                self.done.notify_all()

    def _judge(self, request: Numbered, status: int, number: str | None, body: bytes) -> None:
        self.statuses[str(status)] += 1
        is_right = (number, body) == (str(request.number), request.answer) if status == 200 else number is None
        if not is_right or status not in (200, 404, 502, 503):
            self.wrong.append((request, (status, number, body[:200])))


async def test_numbered_requests(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.touch()
    async with running_router() as router:
        with cutting_relay(router.server_port, every=CUT_EVERY, most=1_000) as relay:
            address = f"client.address='127.0.0.1:{relay.port}'"
            dials = ("client.enabled=True", f"client.token={TOKEN!r}", "identity.uid='A'", address)
            options = [part for each in (*dials, "client.reconnect_delay=0.2") for part in ("--set", each)]
            async with agent_process(tmp_path, *options):
                jobs: list[str] = []

                async def start_job() -> int:
                    while True:
                        link = await connected(router, "A")
                        try:
                            job = (await router.directory.create(link, "test"))["uid"]
                            command = [sys.executable, "-c", JOB, "{port}", str(seen)]
                            with router.directory.starting(job):
                                info = await link.call("job_start", job, command, {}, port="auto", ready="connect")
                        except (CallError, LinkClosedError, RequestRefusedError):  # the link was cut
                            continue
                        jobs.append(job)
                        return int(info["pid"])

                pid = await start_job()
                clients = Clients(router.control_port, lambda: jobs[-1])
                running = [asyncio.ensure_future(clients.run(1 + each * 1_000)) for each in range(CLIENTS)]
                for number in KILLS:
                    async with clients.done:
                        await clients.done.wait_for(lambda number=number: clients.count >= number)
                    os.kill(pid, signal.SIGKILL)
                    pid = await start_job()
                await asyncio.gather(*running)
                assert relay.cuts
    assert clients.wrong == []
    assert clients.statuses["200"]
    made = Counter(line for line in seen.read_text().split("\n") if line.startswith("POST "))
    assert [line for line, count in made.items() if count > 1] == []
