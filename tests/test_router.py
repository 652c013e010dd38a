from __future__ import annotations

import asyncio

import pytest

from pagent.config.model import ServerTls
from pagent.config.router import (
    Access,
    DialledAgent,
    DialSettings,
    RouterApps,
    RouterControl,
    RouterIdentity,
    RouterServer,
)
from pagent.errors import ConfigError
from pagent.relay import reminder as module
from pagent.router import Router
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, dial
from tests.kit.routers import ask, connected, router_settings, running_router


async def test_it_ends_with_the_code_that_it_is_given() -> None:
    async with running_router() as router:
        router.end(3)
        assert await router.wait() == 3


async def test_shutdown_ends_it_with_0() -> None:
    async with running_router() as router:
        assert (await ask(router.control_port, "POST", "/shutdown")).status == 200
        assert await router.wait() == 0


async def test_what_is_forced_is_so_when_the_end_is_asked_for_again() -> None:
    async with running_router() as router:
        forced: list[str] = []
        router.when_forced(lambda: forced.append("now"))
        router.end(0)
        assert forced == []
        router.end(0)
        assert forced == ["now"]


async def test_links_are_closed_with_1001_at_the_end() -> None:
    async with running_router() as router:
        port = router.server_port
        manager = dial(port, TOKEN, uid="A")
        peer = await manager.__aenter__()
        await connected(router, "A")
    async with asyncio.timeout(PATIENCE_S):
        await peer.socket.wait_closed()
    assert peer.socket.close_code == 1001
    await manager.__aexit__(None, None, None)


async def test_a_uid_is_made_at_each_start_where_none_is_set(caplog: pytest.LogCaptureFixture) -> None:
    uids = set()
    for _ in range(2):
        async with running_router(router_settings(identity=RouterIdentity())) as router:
            uids.add(router.uid)
    assert len(uids) == 2
    assert caplog.text.count("identity.uid is null") == 2


async def test_an_open_router_says_so_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "REMINDER_S", 0.01)
    async with running_router(router_settings(control=RouterControl(interface=None))):
        async with asyncio.timeout(PATIENCE_S):
            while caplog.text.count("the router is open on control (all addresses") < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_without_a_listener_for_agents_it_serves_the_api() -> None:
    async with running_router(router_settings(server=RouterServer(enabled=False))) as router:
        assert router.server_port == 0
        assert (await ask(router.control_port, "GET", "/connections")).json == {"connections": []}


async def test_the_apps_listener() -> None:
    async with running_router(router_settings(apps=RouterApps(enabled=True))) as router:
        uid = "0" * 32
        assert router.address_of(uid) == f"http://{uid}.localhost:{router.apps_port}/"
        assert (await ask(router.apps_port, "GET", "/", host=f"{uid}.localhost")).text == f"job '{uid}' is not found"
        for target in ("/info", "/connections", f"/jobs/-/{uid}/info"):
            assert (await ask(router.apps_port, "GET", target)).status == 404
    async with running_router() as router:
        assert (router.apps_port, router.address_of("0" * 32)) == (0, None)


@pytest.mark.parametrize("is_open", [True, False])
async def test_an_open_router_serves_no_jobs_by_name_beyond_the_loopback(is_open: bool) -> None:
    apps = RouterApps(enabled=True, interface=None)
    async with running_router(router_settings(apps=apps, access=Access(open=is_open))) as router:
        answer = await ask(router.apps_port, "GET", "/", host=f"{'0' * 32}.localhost")
    assert (answer.status, "access.open" in answer.text) == ((404, False) if is_open else (403, True))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"control": RouterControl(trusted_proxies=("x",))}, "control.trusted_proxies: "),
        ({"apps": RouterApps(domain="a b")}, "apps.domain: "),
        ({"dial": DialSettings(agents=(DialledAgent("no port"),))}, "dial.agents[0]: "),
        ({"dial": DialSettings(allow=("http://x",))}, "dial.allow: "),
        ({"server": RouterServer(tls=ServerTls(ca="x"))}, "server.tls: "),  # type: ignore[arg-type]
    ],
)
async def test_settings_that_cannot_be_used(sections: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Router(router_settings(**sections))
    assert str(caught.value).startswith(words)
