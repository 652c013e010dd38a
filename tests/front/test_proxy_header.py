from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.front.proxy_header import SIGNATURE, ProxyHeader, read_proxy_header
from tests.front.test_user import get
from tests.kit.directory import Front, running_front
from tests.kit.wire import wire


def header(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    data = addresses + more
    return SIGNATURE + bytes((command, family)) + len(data).to_bytes(2, "big") + data


V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + (4711).to_bytes(2, "big") + (80).to_bytes(2, "big")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + (4711).to_bytes(2, "big") + bytes(2)


@pytest.mark.parametrize(
    ("data", "address", "port"),
    [
        (header(0x21, 0x11, V4), "192.0.2.7", 4711),
        (header(0x21, 0x11, V4, b"\x04\x00\x01x"), "192.0.2.7", 4711),
        (header(0x21, 0x21, V6), "2001:db8::7", 4711),
        (header(0x20, 0x00, b""), "", 0),
        (header(0x20, 0x11, V4), "", 0),
        (header(0x21, 0x00, b"x"), "", 0),
        (header(0x21, 0x31, bytes(216)), "", 0),
    ],
)
def test_headers(data: bytes, address: str, port: int) -> None:
    assert read_proxy_header(data + b"GET") == ProxyHeader(len(data), address, port)
    for end in range(len(data)):
        assert read_proxy_header(data[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n",
        header(0x31, 0x11, V4),
        header(0x22, 0x11, V4),
        header(0x21, 0x11, V4[:-1]),
        header(0x21, 0x21, V4),
        header(0x21, 0x11, V4, bytes(5000)),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY protocol"):
        read_proxy_header(data)


@given(st.binary(max_size=64))
def test_noise(noise: bytes) -> None:
    for data in (noise, SIGNATURE + noise):
        with contextlib.suppress(ValueError):
            read_proxy_header(data)


async def test_the_client_that_a_trusted_proxy_names(front: Front, job: str) -> None:
    trusting = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
    async with running_front(front.jobs, **trusting) as proxied:
        for pieces in (1, 7):
            async with wire(proxied.port) as client:
                data = header(0x21, 0x11, V4) + get(f"{job}/head", "X-Forwarded-For: 10.0.0.1")
                for at in range(0, len(data), len(data) // pieces):
                    client.say(data[at : at + len(data) // pieces])
                    await client.writer.drain()
                assert b"X-Forwarded-For: 192.0.2.7\r\n" in (await client.answer()).body
        async with wire(proxied.port) as client:
            client.say(get(f"{job}/head"))
            assert await client.is_closed()
    async with running_front(front.jobs, proxy_protocol=True) as open_to_all, wire(open_to_all.port) as client:
        assert (await client.ask(header(0x21, 0x11, V4) + get(f"{job}/head"))).status == 400
