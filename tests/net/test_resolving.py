"""Names of hosts are resolved in threads that may be missing."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading

import pytest

from pagent.net.resolving import connect_to, resolve


async def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    assert await resolve("127.0.0.1", 80) == ["127.0.0.1"]
    assert await resolve("::1", 80) == ["::1"]


async def test_an_address_of_one_network_names_its_interface() -> None:
    number, name = socket.if_nameindex()[0]
    assert await resolve(f"fe80::1%{name}", 80) == [f"fe80::1%{number}"]


async def test_a_name_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process continues, and the caller gets the reason."""
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with pytest.raises(OSError, match="no thread can be started") as caught:
        await resolve("localhost", 80)
    assert caught.value.errno == errno.EAGAIN


async def test_a_name() -> None:
    assert set(await resolve("localhost", 80)) & {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        await resolve("no-such-host.invalid", 80)


async def test_the_first_address_that_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    addresses = [("127.0.0.2", port), ("127.0.0.1", port)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

    def both(host: str, *_: object, flags: int, **__: object) -> list[object]:
        if flags:
            raise socket.gaierror
        return list(found)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    transport, _ = await connect_to("a-name", port, asyncio.Protocol)
    assert transport.get_extra_info("peername")[0] == "127.0.0.1"
    transport.abort()
    listening.close()
    found.pop()
    with pytest.raises(ConnectionRefusedError):
        await connect_to("a-name", port, asyncio.Protocol)


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")
