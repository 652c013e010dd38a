from __future__ import annotations

import platform

import pytest

from pagent.agent import Agent
from pagent.cli.remote import remote_agent, shares_ports
from tests.kit.agents import TOKEN


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_an_agent_of_this_machine_shares_ports(agent: Agent, name: str) -> None:
    address = f"{name}:{agent.rpc_port}"
    async with remote_agent(address, TOKEN) as client:
        assert shares_ports(client, address)
        assert shares_ports(client, f"ws://{address}/rpc/v1")


async def test_an_agent_of_another_host_does_not(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    async with remote_agent(f"127.0.0.1:{agent.rpc_port}", TOKEN) as client:
        assert not shares_ports(client, "192.0.2.1:7000")  # another network, for example a container's
        monkeypatch.setattr(platform, "node", lambda: "another")
        assert not shares_ports(client, "127.0.0.1:7000")  # the local end of a tunnel
