"""An agent that dials several routers, one router at several addresses, or through a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, DialledRouter, Settings
from pagent.errors import ConfigError
from pagent.service import dialling
from pagent.service.dialling import targets_of
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.proxies import connect_proxy
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.transfers import eventually


def dialling_settings(settings: Settings, *ports: int, **options: Any) -> Settings:
    routers = tuple(DialledRouter(f"127.0.0.1:{port}") for port in ports)
    given = {"enabled": True, "address": routers, "token": TOKEN, "reconnect_delay": 0.1}
    return replace(settings, client=ClientSettings(**{**given, **options}))


async def test_a_link_to_each_of_two_routers(settings: Settings) -> None:
    async with (
        peers.listen("one") as one,
        peers.listen("two") as two,
        running_agent(dialling_settings(settings, one.port, two.port)) as agent,
    ):
        first, second = await one.accepted(), await two.accepted()
        assert await first.call("job_count_current_connection") == 0
        await first.close()
        await (await one.accepted()).call("job_count_current_connection")
        assert await second.call("job_count_current_connection") == 0
        assert len(agent.links) == 2


async def test_tokens_of_their_own(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("its-own\n")
    async with peers.listen() as one, peers.listen() as two:
        routers = (DialledRouter(f"127.0.0.1:{one.port}"), DialledRouter(f"127.0.0.1:{two.port}", file))
        async with running_agent(dialling_settings(settings, address=routers)):
            tokens = [(await listener.accepted()).hello[2][2]["auth"]["token"] for listener in (one, two)]
    assert tokens == [TOKEN, "its-own"]


async def test_one_router_at_two_addresses_has_one_link(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "SAME_ROUTER_S", 0.05)
    async with (
        peers.listen(instance="i") as one,
        peers.listen(instance="i") as two,
        running_agent(dialling_settings(settings, one.port, two.port)) as agent,
    ):
        links = [await listener.accepted() for listener in (one, two)]
        older = 1 - await _closed_one(links)
        again = await (one, two)[1 - older].accepted()
        await again.socket.wait_closed()
        assert again.socket.close_code == 1000
        await eventually(lambda: len(agent.links) == 1)


async def _closed_one(links: list[peers.Peer]) -> int:
    """Wait until a link is closed with 1000, and return its index; the others are open."""
    waits = [asyncio.ensure_future(link.socket.wait_closed()) for link in links]
    done, others = await asyncio.wait(waits, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    for wait in others:
        wait.cancel()
    (closed,) = (index for index, wait in enumerate(waits) if wait in done)
    assert links[closed].socket.close_code == 1000
    return closed


async def test_the_other_address_is_dialled_when_the_link_is_lost(settings: Settings) -> None:
    """At once, and not at the time of its next attempt."""
    async with (
        peers.listen(instance="i") as one,
        running_agent(dialling_settings(settings, one.port, one.port, reconnect_delay=60.0)),
    ):
        links = [await one.accepted(), await one.accepted()]
        await links[1 - await _closed_one(links)].close()
        assert await (await one.accepted()).call("job_count_current_connection") == 0


async def test_a_real_router_at_two_addresses_keeps_the_older_link(settings: Settings) -> None:
    async with (
        running_router(router_settings()) as router,
        running_agent(dialling_settings(settings, router.server_port, router.server_port)) as agent,
    ):
        await connected(router, agent.uid)
        await eventually(lambda: len(agent.links) == 1)
        link = agent.links.open[0]
        assert (await router.directory.create(await connected(router, agent.uid), "job"))["name"] == "job"
        await asyncio.sleep(0.5)
        assert agent.links.open == [link]


async def test_exit_on_fail_means_that_no_link_is_left(settings: Settings, unused_tcp_port: int) -> None:
    async with peers.listen("two") as two, AsyncExitStack() as stack:
        one = await stack.enter_async_context(peers.listen("one"))
        ports = (one.port, unused_tcp_port, two.port)
        async with running_agent(dialling_settings(settings, *ports, exit_on_fail=True)) as agent:
            await one.accepted()
            second = await two.accepted()
            await stack.aclose()
            await eventually(lambda: len(agent.links) == 1)
            assert await second.call("job_count_current_connection") == 0
            assert not agent.is_ending
            await second.close()
            async with asyncio.timeout(PATIENCE_S):
                assert await agent.wait() == 1


@pytest.mark.parametrize("kind", ["configured", "environment"])
async def test_a_proxy(settings: Settings, kind: str) -> None:
    async with connect_proxy(credentials="user:password") as proxy, peers.listen() as one:
        url = f"http://user:password@127.0.0.1:{proxy.port}"
        client = {"proxy": url} if kind == "configured" else {}
        environ = {"HTTPS_PROXY": url} if kind == "environment" else {}
        configured = dialling_settings(settings, one.port, **client)
        agent = Agent(configured, environ=environ)
        try:
            await agent.start()
            await (await one.accepted()).call("job_count_current_connection")
        finally:
            agent.end(0)
            await agent.stop()
    assert proxy.tunnels == ([f"127.0.0.1:{one.port}"] if kind == "configured" else [])


async def test_no_log_line_has_the_password(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with connect_proxy(credentials="user:password") as proxy:
        configured = dialling_settings(
            settings, 9, proxy=f"http://user:secret@127.0.0.1:{proxy.port}", exit_on_fail=True
        )
        async with running_agent(configured) as agent:
            assert await agent.wait() == 1
    assert "does not accept the user and password (407)" in caplog.text
    assert "secret" not in caplog.text + repr(configured)


@pytest.mark.parametrize(
    ("client", "environ", "error"),
    [
        (ClientSettings(address="x"), {}, "client.address: 'x' is not a valid address"),
        (ClientSettings(address=(DialledRouter("x:1"), DialledRouter("x"))), {}, r"client.address\[1\]: 'x' is not"),
        (ClientSettings(address="x:1", proxy="https://p"), {}, "client.proxy: must be http://host:port or"),
        (ClientSettings(address="wss://x"), {"HTTPS_PROXY": "socks5://s"}, "HTTPS_PROXY: must be http://host:port or"),
    ],
)
def test_what_cannot_be_dialled(client: ClientSettings, environ: Mapping[str, str], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        targets_of(client, environ)


def test_the_proxy_of_the_environment_is_for_tls() -> None:
    environ = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "near"}
    routers = tuple(map(DialledRouter, ("far:1", "wss://far", "wss://near")))
    assert [target.proxy is not None for target in targets_of(ClientSettings(address=routers), environ)] == [
        False,
        True,
        False,
    ]
