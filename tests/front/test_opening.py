from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pagent.config.router import RouterApps
from tests.front.test_proxy_header import V4, header
from tests.front.test_user import get, until
from tests.kit.directory import Front, running_front
from tests.kit.wire import Wire, wire

TRUSTING = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
HEADER = header(0x21, 0x11, V4)


@asynccontextmanager
async def proxied_tls(port: int, trusting: ssl.SSLContext) -> AsyncIterator[Wire]:
    """A connection of a proxy that passes a client's TLS on."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(HEADER)
    reader, writer = await asyncio.open_connection(sock=sock, ssl=trusting, server_hostname="localhost")
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_the_client_that_a_trusted_proxy_names(front: Front, job: str) -> None:
    async with running_front(front.jobs, **TRUSTING) as proxied:
        for pieces in (1, 7):
            async with wire(proxied.port) as client:
                data = HEADER + get(f"{job}/head", "X-Forwarded-For: 10.0.0.1")
                for at in range(0, len(data), len(data) // pieces):
                    client.say(data[at : at + len(data) // pieces])
                    await client.writer.drain()
                assert b"X-Forwarded-For: 192.0.2.7\r\n" in (await client.answer()).body
        await until(lambda: has_connections(proxied, 0))


async def test_each_listener_has_its_own_setting(front: Front, job: str) -> None:
    apps = RouterApps(proxy_protocol=True)
    request = get("/head").replace(b"Host: h", f"Host: {job.split('/')[3]}.localhost".encode())
    async with running_front(front.jobs, apps=apps, trusted_proxies=("127.0.0.0/8",)) as proxied:
        async with wire(proxied.apps_port) as client:
            assert b"X-Forwarded-For: 192.0.2.7\r\n" in (await client.ask(HEADER + request)).body
        async with wire(proxied.port) as client:
            assert b"X-Forwarded-For: 127.0.0.1\r\n" in (await client.ask(get(f"{job}/head"))).body


async def test_a_proxy_that_speaks_for_itself(front: Front, job: str) -> None:
    async with running_front(front.jobs, **TRUSTING) as proxied, wire(proxied.port) as client:
        answer = await client.ask(header(0x20, 0, b"") + get(f"{job}/head"))
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in answer.body


async def test_without_a_header_a_trusted_proxy_is_refused_and_with_one_any_other_peer(front: Front, job: str) -> None:
    async with running_front(front.jobs, **TRUSTING) as proxied, wire(proxied.port) as client:
        client.say(get(f"{job}/head"))
        assert await client.is_closed()
    async with running_front(front.jobs, proxy_protocol=True) as other, wire(other.port) as client:
        assert (await client.ask(get(f"{job}/hello"))).status == 200
        assert (await client.ask(HEADER + get(f"{job}/head"))).status == 400


async def test_the_header_comes_before_the_tls_handshake(
    front: Front, job: str, certificate: tuple[Path, Path]
) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    trusting.check_hostname = False
    async with running_front(front.jobs, tls=served, **TRUSTING) as proxied:
        async with proxied_tls(proxied.port, trusting) as client:
            lines = (await client.ask(get(f"{job}/head"))).body.decode().split("\r\n")
            assert {"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443"} <= set(lines)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with wire(proxied.port, tls=trusting) as client:
                pass
        async with wire(proxied.port) as client:
            client.say(HEADER + get(f"{job}/head"))  # no TLS
            assert (await client.rest())[:5] != b"HTTP/"
    async with (
        running_front(front.jobs, tls=served, proxy_protocol=True) as other,
        wire(other.port, tls=trusting) as client,
    ):
        assert (await client.ask(get(f"{job}/hello"))).status == 200


async def test_a_header_that_does_not_come_is_waited_for_as_long_as_a_head(front: Front) -> None:
    async with running_front(front.jobs, head_s=0.2, **TRUSTING) as proxied, wire(proxied.port) as client:
        client.say(HEADER[:-1])
        assert await client.is_closed()


async def test_connections_without_a_header_end_with_the_router(front: Front) -> None:
    async with running_front(front.jobs, **TRUSTING) as proxied:
        client = await connected_client(proxied)
    assert await client.is_closed()
    client.writer.close()


async def connected_client(proxied: Front) -> Wire:
    """A client of which a part of the header has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxied.port)
    writer.write(HEADER[:5])
    await until(lambda: has_connections(proxied, 1))
    return Wire(reader, writer)


async def has_connections(front: Front, count: int) -> bool:
    return front.server.connections == count
