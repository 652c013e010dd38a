"""Dialling: addresses, answers of other servers, TLS."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pagent.errors import ConfigError, DialError, HandshakeRefusedError
from pagent.net.dial import Address, dial, parse_address
from pagent.rpc.connection import Connection
from pagent.wire import frames, identity, messages
from pagent.wire.upgrade import accept_upgrade
from tests.kit import peer as peers
from tests.kit.peer import PATIENCE_S, SUBPROTOCOL


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("router:80", Address("router", 80, "/rpc/v1", False)),
        ("[::1]:80", Address("::1", 80, "/rpc/v1", False)),
        ("ws://router", Address("router", 80, "/rpc/v1", False)),
        ("wss://router", Address("router", 443, "/rpc/v1", True)),
        ("wss://router:8443/a/b", Address("router", 8443, "/a/b", True)),
        ("ws://router:1/", Address("router", 1, "/rpc/v1", False)),
        ("b\u00fccher.example:1", Address("xn--bcher-kva.example", 1, "/rpc/v1", False)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("router", "port missing"),
        ("router:", "port missing"),
        ("router:http", "'http'"),
        ("router:99999", "out of range"),
        ("ws://router:99999", "out of range"),
        ("router:0", "from 1 to 65535"),
        ("wss://router:0/x", "from 1 to 65535"),
        ("http://router", "host:port"),
        ("ws://", "host:port"),
        ("ws://r?q", "host:port"),
        ("[::1:80", "IPv6"),
        ("router..example:80", "invalid host name"),
        (f"{'a' * 64}.example:80", "invalid host name"),
        ("ws://r/\u00fc", "host:port"),
        ("ws://r/a b", "host:port"),
    ],
)
def test_invalid_addresses(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"is not a valid address: .*{reason}"):
        parse_address(text)


@pytest.mark.parametrize("text", ["ws://user:secret@router:1", "secret@router:1", "ws://:secret@router:0"])
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="not a valid address") as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def connection() -> Connection:
    data = identity.user_data("agent", "agent", token="t")
    return Connection(dialled=True, user_data=data, methods={})


async def answering(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", HandshakeRefusedError),
        (b"SSH-2.0-x\r\n\r\n", HandshakeRefusedError),
        (b"HTTP/1.1 101 Switching", DialError),
        (b"", DialError),
    ],
)
async def test_what_answers_is_no_router(answer: bytes, error: type[Exception]) -> None:
    async with await answering(answer) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(error):
            await dial(Address("127.0.0.1", port), connection())


async def test_a_tunnel_to_a_closed_port(unused_tcp_port: int) -> None:
    with pytest.raises(DialError, match=f"^127.0.0.1:{unused_tcp_port}: Connection refused$"):
        await dial(Address("127.0.0.1", unused_tcp_port), connection())


async def test_nothing_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.net.dial.HANDSHAKE_TIMEOUT_S", 0.1)
    accepted: list[Any] = []
    server = await asyncio.start_server(lambda *streams: accepted.append(streams), "127.0.0.1", 0)
    async with server:
        with pytest.raises(DialError, match="no answer"):
            await dial(Address("127.0.0.1", server.sockets[0].getsockname()[1]), connection())
        for _, writer in accepted:
            writer.close()


async def test_a_peer_may_answer_before_it_is_greeted() -> None:
    """Data in one piece with the 101 is handled once the connection has begun."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2]]
        answer = accept_upgrade("/rpc/v1", fields)
        reply = messages.hello_reply(1, "early", identity.user_data("router", "router"))
        writer.write(answer + frames.binary_frame(reply, b""))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    gone = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        ours = connection()
        await dial(Address("127.0.0.1", server.sockets[0].getsockname()[1]), ours)
        async with asyncio.timeout(PATIENCE_S):
            await ours.ready
            assert ours.uid == "early"
            ours.link.abort("the test is over")
            await ours.close()
            await gone.wait()


async def test_a_link_by_tls_to_a_router_that_is_known_only(certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    listener = peers.Listener()
    async with peers.serve(
        listener.serve_one, "127.0.0.1", 0, ssl=context, subprotocols=[SUBPROTOCOL], compression=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(DialError):
            await dial(Address("localhost", port, tls=True), connection())
        ours = connection()
        await dial(Address("localhost", port, tls=True), ours, tls=ssl.create_default_context(cafile=str(made)))
        async with asyncio.timeout(PATIENCE_S):
            await ours.ready
            await listener.accepted()
            await ours.close()
