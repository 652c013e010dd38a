from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from pagent.net.port.connect import connect_port
from pagent.net.tls import job_context
from tests.kit.ends import QuietUser
from tests.kit.peer import PATIENCE_S


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


async def test_the_address_of_ipv4_comes_first() -> None:
    with socket.create_server(("127.0.0.1", 0)) as four:
        port = four.getsockname()[1]
        made: list[str] = []
        connection = await connect_port(port, QuietUser(), lambda: made.append("made"))
        accepted, _ = four.accept()
        accepted.close()
        assert made == ["made"]
        connection.abort()


async def test_a_job_that_listens_on_ipv6_alone() -> None:
    try:
        six = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with six:
        connection = await connect_port(six.getsockname()[1], QuietUser())
        accepted, _ = six.accept()
        accepted.close()
        connection.abort()


async def test_a_port_on_which_no_process_listens() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        await connect_port(port, QuietUser())


async def test_a_connection_that_is_cancelled_leaves_none(listener: socket.socket) -> None:
    listener.setblocking(False)
    connecting = asyncio.ensure_future(connect_port(listener.getsockname()[1], QuietUser()))
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    async with asyncio.timeout(PATIENCE_S):
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return
        with accepted:
            accepted.setblocking(False)
            with suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(accepted, 1) == b""


async def test_a_job_with_tls_may_have_any_certificate(certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(PATIENCE_S):
        connection = await connect_port(port, QuietUser(), tls=job_context())
    assert names == ["localhost"]
    connection.abort()
    server.close()
    await server.wait_closed()


async def test_a_job_without_tls_that_is_connected_with_it() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OSError):  # noqa: PT011 - the texts are those of OpenSSL and of each loop
        await connect_port(port, QuietUser(), tls=job_context())
    server.close()
    await server.wait_closed()
