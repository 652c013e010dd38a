"""Dialling through an HTTP proxy: its configuration, the request, wrong answers, and links in tunnels."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.agent import Agent
from pagent.config.model import ServerSettings, ServerTls, Settings
from pagent.errors import ConfigError, DialError
from pagent.limits import UPGRADE_ANSWER_MAX
from pagent.net.dial import Address, dial
from pagent.net.proxy import ConnectRequest, Proxy, environment_proxy, parse_proxy
from pagent.rpc.connection import Connection
from pagent.wire import identity
from tests.kit.agents import TOKEN, running_agent
from tests.kit.proxies import connect_proxy

OPEN: Final = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"
SECRET: Final = "dXNlcjpwYXNzd29yZA=="  # user:password


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", Proxy("proxy", 3128)),
        ("proxy:3128", Proxy("proxy", 3128)),
        ("http://proxy/", Proxy("proxy", 80)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://user:password@proxy:1", Proxy("proxy", 1, f"Basic {SECRET}")),
        ("http://us%65r:p%61ssword@proxy:1", Proxy("proxy", 1, f"Basic {SECRET}")),
        ("http://user@proxy:1", Proxy("proxy", 1, "Basic dXNlcjo=")),
    ],
)
def test_proxies(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    ["https://u:secret@p:1", "socks5://u:secret@p:1", "http://", "http://u:secret@:1", "http://u:secret@p:0",
     "http://u:secret@p:x", "http://u:secret@p:1/path", "http://u:secret@p:1?q", "http://[u:secret", "http://a..b:1"],
)  # fmt: skip
def test_invalid_proxies_are_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="must be http://host:port") as wrong:
        parse_proxy(text)
    assert "secret" not in str(wrong.value)


def test_a_repr_has_no_password() -> None:
    assert repr(parse_proxy("http://user:password@proxy:1")) == "Proxy(proxy:1)"


@pytest.mark.parametrize(
    ("excluded", "host", "used"),
    [
        ("", "router.example.org", True),
        ("*", "router.example.org", False),
        ("example.org", "router.example.org", False),
        (".example.org", "router.example.org", False),
        ("*.example.org", "ROUTER.example.org", False),
        ("other, example.org ,", "example.org", False),
        ("example.org", "badexample.org", True),
        ("ample.org", "example.org", True),
        ("example.org:443", "example.org", False),
        ("example.org:80", "example.org", True),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("10.1.2.3:443", "10.1.2.3", False),
        ("2001:db8::/32", "2001:db8::1", False),
        ("[2001:db8::1]", "2001:db8::1", False),
        ("", "localhost", False),
        ("", "127.0.0.2", False),
        ("", "::1", False),
    ],
)
def test_what_the_environment_excludes(excluded: str, host: str, used: bool) -> None:
    for names in (("HTTPS_PROXY", "NO_PROXY"), ("https_proxy", "no_proxy")):
        environ = dict(zip(names, ("http://proxy:3128", excluded), strict=True))
        assert (environment_proxy(environ, host, 443) is not None) == used


def test_an_environment_without_a_proxy() -> None:
    assert environment_proxy({"HTTPS_PROXY": "", "HTTP_PROXY": "http://proxy:1"}, "router", 443) is None
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY: must be"):
        environment_proxy({"HTTPS_PROXY": "socks5://proxy:1"}, "router", 443)


# --- CONNECT ----------------------------------------------------------------------------------------


def test_the_request() -> None:
    request = ConnectRequest(parse_proxy("http://user:password@proxy:1"), "[::1]:7000").request()
    lines = ["CONNECT [::1]:7000 HTTP/1.1", "Host: [::1]:7000", f"Proxy-Authorization: Basic {SECRET}", "", ""]
    assert request == "\r\n".join(lines).encode()
    assert b"Authorization" not in ConnectRequest(Proxy("proxy", 1), "router:1").request()


@given(st.sets(st.integers(1, len(OPEN) - 1)))
def test_an_answer_in_pieces(cuts: set[int]) -> None:
    request = ConnectRequest(Proxy("proxy", 1), "router:1")
    at = [0, *sorted(cuts), len(OPEN)]
    opened = [request.feed(OPEN[first:last]) for first, last in pairwise(at)]
    assert opened == [False] * (len(at) - 2) + [True]


WRONG = [
    (b"HTTP/1.1 407 Whatever\r\n\r\n", "asks for a user and password (407)"),
    (b"HTTP/1.0 403 Forbidden by secret\r\n\r\n", "refuses the connection: 403 Forbidden"),
    (b"HTTP/1.1 502\r\n\r\n", "refuses the connection: 502 Bad Gateway"),
    (b"HTTP/1.1 799 x\r\n\r\n", "refuses the connection: 799"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "refuses the connection: 101 Switching Protocols"),
    (b"SSH-2.0-OpenSSH\r\n", "does not answer in HTTP"),
    (b"\x15\x03\x01", "does not answer in HTTP"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "does not answer in HTTP"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "does not answer in HTTP"),
    (b"HTTP/1.1 200OK\r\n\r\n", "does not answer in HTTP"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * UPGRADE_ANSWER_MAX, f"a head of more than {UPGRADE_ANSWER_MAX} bytes"),
    (OPEN + b"x", "sent data before the tunnel was in use"),
    (b"HTTP/1.1 200 OK\r\nX:", "closed the connection before it answered"),
    (b"", "closed the connection before it answered"),
]


@pytest.mark.parametrize(("answer", "reason"), WRONG, ids=range(len(WRONG)))
async def test_wrong_answers(answer: bytes, reason: str) -> None:
    async with connect_proxy(answer=answer) as proxy:
        with pytest.raises(DialError) as refused:
            await dial(Address("router", 7000), connection(), proxy=Proxy("127.0.0.1", proxy.port))
    assert str(refused.value).startswith(f"router:7000: the proxy 127.0.0.1:{proxy.port} ")
    assert str(refused.value).endswith(reason)
    assert "secret" not in str(refused.value)


async def test_a_password_that_is_not_accepted() -> None:
    async with connect_proxy(credentials="user:password") as proxy:
        given = parse_proxy(f"http://user:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(DialError, match=r"does not accept the user and password \(407\)$") as refused:
            await dial(Address("router", 7000), connection(), proxy=given)
    assert "secret" not in str(refused.value)


async def test_a_proxy_that_cannot_be_reached(unused_tcp_port: int) -> None:
    with pytest.raises(DialError, match=f"router:7000: the proxy 127.0.0.1:{unused_tcp_port} cannot be reached: "):
        await dial(Address("router", 7000), connection(), proxy=Proxy("127.0.0.1", unused_tcp_port))


# --- links ------------------------------------------------------------------------------------------


def connection() -> Connection:
    data = identity.user_data("client", "client", token=TOKEN)
    return Connection(dialled=True, user_data=data, methods={})


async def check(made: Connection) -> None:
    await made.ready
    assert await made.call("job_count_current_connection") == 0
    await made.close()


async def test_a_link(agent: Agent) -> None:
    async with connect_proxy(credentials="user:pass word") as proxy:
        made = connection()
        through = parse_proxy(f"http://user:pass%20word@127.0.0.1:{proxy.port}")
        await dial(Address("127.0.0.1", agent.rpc_port), made, proxy=through)
        await check(made)
    assert proxy.tunnels == [f"127.0.0.1:{agent.rpc_port}"]


@pytest.fixture
async def secured(settings: Settings, certificate: tuple[Path, Path]) -> AsyncIterator[Agent]:
    server = ServerSettings(accept_tokens=(TOKEN,), tls=ServerTls(*certificate))
    async with running_agent(replace(settings, server=server)) as running:
        yield running


async def test_a_link_by_tls(secured: Agent, certificate: tuple[Path, Path]) -> None:
    address = Address("localhost", secured.rpc_port, tls=True)
    async with connect_proxy() as proxy:
        through = Proxy("127.0.0.1", proxy.port)
        with pytest.raises(DialError, match="certificate is not trusted"):
            await dial(address, connection(), proxy=through)
        made = connection()
        await dial(address, made, tls=ssl.create_default_context(cafile=str(certificate[0])), proxy=through)
        await check(made)
    assert proxy.tunnels == [f"localhost:{secured.rpc_port}"] * 2


async def test_a_peer_in_a_tunnel_that_does_not_speak_tls(agent: Agent) -> None:
    async with connect_proxy() as proxy:
        with pytest.raises(DialError, match="TLS"):
            await dial(
                Address("localhost", agent.rpc_port, tls=True), connection(), proxy=Proxy("127.0.0.1", proxy.port)
            )
