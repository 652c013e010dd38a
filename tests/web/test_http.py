"""Clients of the agent's own ports: kept connections, slow readers, invalid requests."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from pagent.agent import Agent
from pagent.limits import HANDSHAKE_MAX, HANDSHAKES_WAITING
from tests.kit.peer import PATIENCE_S

PORTS = ("rpc_port", "control_port", "report_port")

#: Requests by name. HOST is replaced by the host and port of the agent.
REQUESTS = {
    "info": b"GET /info HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "head": b"HEAD /info HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "missing": b"GET /missing HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "method": b"PUT /info HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "foreign": b"GET /info HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "no host": b"GET /info HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /info HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
    "old": b"GET /info HTTP/1.0\r\n\r\n",
    "old, kept": b"GET /info HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "report": b"GET /job_started?job_id=x&port=1 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "no upgrade": b"GET /rpc/v1 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "h2c": b"GET /info HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "body": b"POST /info HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"POST /info HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no body": b"POST /info HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n",
    "expect": b"GET /info HTTP/1.1\r\nHost: HOST\r\nExpect: more\r\n\r\n",
    "half a body": b"POST /info HTTP/1.1\r\nHost: HOST\r\nContent-Length: 500\r\n\r\nhello",
    "bad version": b"GET / HTTP/9.9\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "bad line": b"nonsense\r\n\r\n",
    "bad field": b"GET / HTTP/1.1\r\nHost : HOST\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: x\r\n\r\n",
    "both lengths": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "long line": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: HOST\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    "endless head": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"A: b\r\n" * (HANDSHAKE_MAX // 6),
    "binary": bytes(range(128, 256)),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lf only": b"GET /info HTTP/1.1\nHost: HOST\n\n",
}


class HttpClient:
    """Reads responses as RFC 9112 defines them, so one that announces a wrong end hangs or fails."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.port = port
        self.reader = reader
        self.writer = writer

    def ask(self, request: bytes) -> None:
        self.writer.write(request.replace(b"HOST", b"127.0.0.1:%d" % self.port))

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = b"" if bodiless else await self.reader.readexactly(int(fields["content-length"]))
        return int(first.split()[1]), fields, body

    async def end(self) -> bytes:
        """Return the bytes until the connection is closed."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def client(port: int) -> AsyncIterator[HttpClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield HttpClient(port, reader, writer)
    finally:
        writer.transport.abort()


def is_kept(request: bytes, fields: dict[str, str]) -> bool:
    option = fields.get("connection", "").lower()
    return option == "keep-alive" if b"HTTP/1.0" in request else option != "close"


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("port", PORTS)
async def test_each_response_says_whether_its_connection_is_kept(agent: Agent, port: str, name: str) -> None:
    request = REQUESTS[name]
    async with client(getattr(agent, port)) as asking:
        asking.ask(request)
        status, fields, body = await asking.answer(bodiless=name == "head")
        assert fields["cache-control"] == "no-store"
        assert fields["x-content-type-options"] == "nosniff"
        assert fields.get("content-type", "").partition(";")[0] in ("text/plain", "application/json")
        assert b"<" not in body
        if is_kept(request, fields):
            asking.ask(REQUESTS["missing"])
            assert (await asking.answer())[0] == 404
        elif name != "half a body":  # the agent waits for its end
            assert await asking.end() == b""
        if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
            assert fields["allow"]


@pytest.mark.parametrize("port", PORTS)
async def test_pooled_clients_never_fail(agent: Agent, port: str) -> None:
    """Clients with kept connections send any request, with more connections than places."""

    async def pooled() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", getattr(agent, port), timeout=PATIENCE_S)

        def ask(number: int) -> None:
            method = ("GET", "POST", "HEAD", "DELETE")[number % 4]
            path = ("/info", "/jobs", "/missing", "/job_started?x=1", "/rpc/v1")[number % 5]
            connection.request(method, path, body=b"x" * (number % 3) if method == "POST" else None)
            connection.getresponse().read()

        try:
            for number in range(200 // HANDSHAKES_WAITING + 20):
                await asyncio.to_thread(ask, number)
        finally:
            connection.close()

    await asyncio.gather(*(pooled() for _ in range(HANDSHAKES_WAITING)))


@pytest.mark.parametrize("port", PORTS)
async def test_two_hundred_requests_on_one_connection(agent: Agent, port: str) -> None:
    async with client(getattr(agent, port)) as asking:
        for name in ["info", "missing", "method", "no upgrade", "report", "no body", "h2c", "expect"] * 25:
            asking.ask(REQUESTS[name])
            assert is_kept(REQUESTS[name], (await asking.answer())[1])


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_pipelined_requests_are_answered_in_order(agent: Agent, step: int) -> None:
    paths = [b"/info", b"/missing", b"/jobs", b"/connections"] * 5
    blob = b"".join(b"\r\nGET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path for path in paths)
    async with client(agent.control_port) as asking:
        for at in range(0, len(blob), step):
            asking.ask(blob[at : at + step])
            await asking.writer.drain()
        statuses = [(await asking.answer())[0] for _ in paths]
        assert statuses == [404 if path == b"/missing" else 200 for path in paths]


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_half_closed_client_gets_its_responses(agent: Agent, requests: int) -> None:
    async with client(agent.control_port) as asking:
        asking.ask(REQUESTS["info"] * requests)
        asking.writer.write_eof()
        for _ in range(requests):
            assert (await asking.answer())[0] == 200
        assert await asking.end() == b""


async def test_a_half_close_within_a_request_closes_the_connection(agent: Agent) -> None:
    for sent in (b"", REQUESTS["info"][:20]):
        async with client(agent.control_port) as asking:
            asking.ask(sent)
            asking.writer.write_eof()
            assert await asking.end() == b""


async def test_unread_responses_pause_the_requests(agent: Agent) -> None:
    """A pipelined request is read when the client has read the response before it."""
    async with client(agent.control_port) as asking:
        asking.writer.transport.set_write_buffer_limits(high=0)
        block = REQUESTS["info"].replace(b"HOST", b"127.0.0.1") * 500

        async def ask_without_end() -> None:
            for _ in range(200_000_000 // len(block)):
                asking.writer.write(block)
                await asyncio.wait_for(asking.writer.drain(), 1.0)

        with pytest.raises(TimeoutError):
            await ask_without_end()


async def test_a_slow_body_delays_no_response(agent: Agent) -> None:
    async with client(agent.control_port) as asking:
        asking.ask(b"POST /shutdown HTTP/1.1\r\nHost: HOST\r\nContent-Length: 10\r\n\r\n")
        status, fields, _ = await asking.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert await agent.wait() == 0


async def test_a_large_unread_body_does_not_reset_the_response(agent: Agent) -> None:
    body = bytes(5_000_000)
    async with client(agent.control_port) as asking:
        asking.ask(b"POST /info HTTP/1.1\r\nHost: HOST\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(PATIENCE_S):
            await asking.writer.drain()
        assert (await asking.answer())[0] == 405


async def test_a_failed_handler_is_a_500_without_details(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Agent) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr(type(agent.jobs), "jobs", broken)
    async with client(agent.control_port) as asking:
        for _ in range(2):
            asking.ask(REQUESTS["info"])
            assert (await asking.answer())[0] == 200
        asking.ask(REQUESTS["info"].replace(b"/info", b"/jobs").replace(b"\r\n\r\n", b"\r\nAccept: text/html\r\n\r\n"))
        status, fields, body = await asking.answer()
        assert (status, fields["connection"], fields["cache-control"]) == (500, "close", "no-store")
        assert body == b"the request failed"
        assert await asking.end() == b""
    assert "GET /jobs failed" in caplog.text


async def test_tls_on_a_port_without_tls_is_closed_at_once(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    for port in PORTS:
        async with client(getattr(agent, port)) as asking:
            asking.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            with suppress(ConnectionError):
                assert await asking.end() == b""
    assert caplog.text.count("closed a TLS connection: this port does not use TLS") == len(PORTS)
