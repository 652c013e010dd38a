"""Which links of routers an agent accepts and keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed

from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from pagent.config.tokens import TOKEN_GONE
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S, Peer


def with_tokens(settings: Settings, *tokens: str) -> Settings:
    return replace(settings, server=replace(settings.server, accept_tokens=tokens))


async def closed(peer: Peer) -> tuple[int | None, str | None]:
    """Wait until the agent has closed a link; return the code and the reason."""
    async with asyncio.timeout(PATIENCE_S):
        await peer.socket.wait_closed()
    return peer.socket.close_code, peer.socket.close_reason


async def test_a_token_that_is_not_accepted(agent: Agent) -> None:
    for token in ("", f"{TOKEN}x", TOKEN[:-1], TOKEN.upper()):
        with pytest.raises(ConnectionClosed):
            async with peers.dial(agent.rpc_port, token) as peer:
                await peer.call("job_count_current_connection")
    assert len(agent.links) == 0


async def test_only_links_whose_token_is_gone_are_closed(settings: Settings) -> None:
    settings = with_tokens(settings, "stays", "goes")
    async with (
        running_agent(settings) as agent,
        peers.dial(agent.rpc_port, "stays") as stays,
        peers.dial(agent.rpc_port, "goes") as goes,
    ):
        agent.reload(lambda: with_tokens(settings, "new", "stays"))
        assert await closed(goes) == (1008, TOKEN_GONE)
        assert await stays.call("job_count_current_connection") == 0
        async with peers.dial(agent.rpc_port, "new") as new:
            assert await new.call("job_count_current_connection") == 0


async def test_the_link_to_a_dialled_router_needs_no_token_of_the_agent(settings: Settings) -> None:
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", token="its-own")
        settings = replace(with_tokens(settings, "goes"), client=client)
        async with running_agent(settings) as agent, peers.dial(agent.rpc_port, "goes") as goes:
            router = await listener.accepted()
            agent.reload(lambda: with_tokens(settings))
            assert await closed(goes) == (1008, TOKEN_GONE)
            assert await router.call("job_count_current_connection") == 0
