"""Links to an agent that has a certificate (docs/contract.rst, "Dialling")."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.client import connect_agent
from pagent.config.model import ServerSettings, ServerTls, Settings
from pagent.errors import DialError, HandshakeRefusedError
from pagent.limits import HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING
from pagent.net.tls import dialling_fault
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.web.test_unauthenticated import UPGRADE


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.fixture
async def agent(settings: Settings, certificate: tuple[Path, Path]) -> AsyncIterator[Agent]:
    server = ServerSettings(accept_tokens=(TOKEN,), tls=ServerTls(*certificate))
    async with running_agent(replace(settings, server=server)) as running:
        yield running


async def count(agent: Agent, token: str, context: ssl.SSLContext) -> int:
    async with (
        asyncio.timeout(PATIENCE_S),
        connect_agent(f"wss://localhost:{agent.rpc_port}", token=token, tls=context) as client,
    ):
        return len(await client.jobs())


async def test_one_link_after_the_other(agent: Agent, trusting: ssl.SSLContext) -> None:
    for _ in range(3):
        assert await count(agent, TOKEN, trusting) == 0


async def test_unauthenticated_peers_keep_no_router_out(agent: Agent, trusting: ssl.SSLContext) -> None:
    for _ in range(3):
        with pytest.raises(HandshakeRefusedError):
            await count(agent, "another", trusting)
        _, writer = await asyncio.open_connection("localhost", agent.rpc_port, ssl=trusting)
        writer.write(b"GET / HTTP/1.1\r\n")
        writer.transport.abort()
    assert await count(agent, TOKEN, trusting) == 0


async def test_a_peer_that_leaves_after_its_upgrade_request_keeps_no_place(
    agent: Agent, trusting: ssl.SSLContext
) -> None:
    """The connection may be closed when the request is handled."""
    for _ in range(2 * HANDSHAKES_WAITING):
        _, writer = await asyncio.open_connection("localhost", agent.rpc_port, ssl=trusting)
        writer.write(UPGRADE)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    assert await count(agent, TOKEN, trusting) == 0


async def test_an_unknown_certificate_is_refused_by_the_peer(agent: Agent) -> None:
    with pytest.raises(DialError):
        await count(agent, TOKEN, ssl.create_default_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("listens", "dials", "words"),
    [
        ("plain", "tls", "does the peer expect TLS?"),
        ("tls", "plain", "does the peer expect TLS?"),
        ("mutual", "plain", "does the peer expect TLS?"),
        ("mutual", "tls", r"certificate\? \(client.tls.certificate\)"),
    ],
)
async def test_mismatched_tls_fails_at_once_with_a_hint(
    settings: Settings,
    certificate: tuple[Path, Path],
    trusting: ssl.SSLContext,
    listens: str,
    dials: str,
    words: str,
    version: ssl.TLSVersion,
) -> None:
    kinds = {"plain": ServerTls(), "tls": ServerTls(*certificate), "mutual": ServerTls(*certificate, certificate[0])}
    trusting.maximum_version = version
    async with running_agent(
        replace(settings, server=ServerSettings(accept_tokens=(TOKEN,), tls=kinds[listens]))
    ) as agent:
        address = f"{'ws' if dials == 'plain' else 'wss'}://localhost:{agent.rpc_port}"
        with pytest.raises(DialError, match=words):
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S / 2), connect_agent(address, token=TOKEN, tls=trusting):
                pass


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "the peer asks for a certificate: set client.tls.certificate"),
        ("WRONG_VERSION_NUMBER", "does the peer expect TLS?"),
        ("SOMETHING_NEW", "TLS handshake failed: SOMETHING_NEW"),
    ],
)
def test_messages_for_tls_errors(reason: str, words: str) -> None:
    error = ssl.SSLError(1, "what OpenSSL says")
    error.reason = reason
    assert words in dialling_fault(error)


async def test_a_router_may_need_a_certificate(
    settings: Settings, certificate: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    tls = ServerTls(*certificate, ca=certificate[0])
    async with running_agent(replace(settings, server=ServerSettings(accept_tokens=(TOKEN,), tls=tls))) as agent:
        with pytest.raises(DialError):
            await count(agent, TOKEN, trusting)
        trusting.load_cert_chain(*certificate)
        assert await count(agent, TOKEN, trusting) == 0
