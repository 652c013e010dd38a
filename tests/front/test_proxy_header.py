from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.front.proxy_header import SIGNATURE, ProxyHeader, read_proxy_header, receive_proxy_header


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
def test_invalid_headers(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY protocol"):
        read_proxy_header(data)


@given(st.binary(max_size=64))
def test_noise(noise: bytes) -> None:
    for data in (noise, SIGNATURE + noise):
        with contextlib.suppress(ValueError):
            read_proxy_header(data)


def test_a_header_is_read_to_its_end_and_no_further() -> None:
    async def read(data: bytes, pieces: int) -> tuple[ProxyHeader, bytes]:
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            reading = asyncio.ensure_future(receive_proxy_header(here))
            size = -(-len(data) // pieces)
            for at in range(0, len(data), size):
                there.sendall(data[at : at + size])
                await asyncio.sleep(0)
            return await reading, here.recv(100)

    for data in (header(0x21, 0x11, V4), header(0x21, 0x21, V6, bytes(30)), header(0x20, 0, b"")):
        for pieces in (1, 2, 5, len(data)):
            found, rest = asyncio.run(read(data + b"rest", pieces))
            assert (found.length, rest) == (len(data), b"rest")


async def test_a_connection_that_ends_within_its_header() -> None:
    here, there = socket.socketpair()
    with here:
        here.setblocking(False)
        with there:
            there.sendall(SIGNATURE)
        with pytest.raises(ValueError, match="ended within"):
            await receive_proxy_header(here)
