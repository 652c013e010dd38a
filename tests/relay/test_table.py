from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgpack
import pytest
import websockets

from pagent.config.model import ClientSettings, DialledRouter, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import AcceptedToken, RouterServer
from pagent.relay import table
from pagent.relay.agent import AgentKey
from pagent.relay.changes import ChangeKind
from pagent.router import Router
from pagent.service import dialling
from pagent.wire import messages
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S, Peer, dial
from tests.kit.routers import connected, disconnected, router_settings, running_router


async def closed(peer: Peer) -> int | None:
    """Wait until the router has closed a link; return the code."""
    async with asyncio.timeout(PATIENCE_S):
        await peer.socket.wait_closed()
    return peer.socket.close_code


async def answer(peer: Peer, call_id: int) -> str:
    """Answer a call of the router; return the method."""
    message = await peer.next_of(call_id)
    await peer.send([7, call_id, msgpack.packb(0), 0, None])
    return str(message[3])


async def test_an_agent_is_found_by_its_connection_and_by_its_uid(router: Router) -> None:
    async with dial(router.server_port, TOKEN, uid="A") as peer:
        agent = await connected(router, "A")
        assert agent.connection_id == peer.link_id
        assert router.directory.table.get(peer.link_id) is agent
        assert router.directory.table.agent("A") is agent
        assert agent.mode == "SERVER"
    await disconnected(router)
    assert router.directory.table.get(agent.connection_id) is None
    assert router.directory.table.agent("A") is None


async def test_a_second_link_of_a_process_takes_over_and_the_first_is_closed(router: Router) -> None:
    async with (
        dial(router.server_port, TOKEN, uid="A", instance="i") as first,
        dial(router.server_port, TOKEN, uid="A", instance="i") as second,
    ):
        assert await closed(first) == 1000
        agent = await connected(router, "A")
        assert agent.connection_id == second.link_id
        assert [link.connection_id for link in router.directory.table] == [second.link_id]


async def test_the_first_link_of_a_process_is_closed_only_after_its_calls(router: Router) -> None:
    async with dial(router.server_port, TOKEN, uid="A", instance="i") as first:
        agent = await connected(router, "A")
        call = agent.start_call(messages.UNARY, "job_wait", ["job"], {})
        async with dial(router.server_port, TOKEN, uid="A", instance="i") as second:
            newer = await connected(router, "A", other_than=agent)
            assert router.directory.table.get(first.link_id) is newer  # new calls go there
            assert agent.is_open
            await answer(first, call.call_id)
            assert await call.result == 0
            assert await closed(first) == 1000
            assert newer.connection_id == second.link_id


async def test_a_link_that_replaces_another_has_it_closed_at_once(router: Router) -> None:
    async with dial(router.server_port, TOKEN, uid="A", instance="i") as first:
        agent = await connected(router, "A")
        call = agent.start_call(messages.UNARY, "job_wait", ["job"], {})
        async with dial(router.server_port, TOKEN, uid="A", instance="i", replaces=first.link_id):
            assert await closed(first) == 1000
            assert call.result.done()


@pytest.mark.parametrize("instance", [None, "other"])
async def test_another_agent_with_the_uid_is_refused_while_the_first_lives(
    instance: str | None, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        dial(router.server_port, TOKEN, uid="A", instance="i") as first,
        dial(router.server_port, TOKEN, uid="A", instance=instance) as second,
    ):
        assert await answer(first, 1) == "job_count_current_connection"
        assert await closed(second) == 1008
        assert [link.connection_id for link in router.directory.table] == [first.link_id]
    assert [record for record in caplog.records if "agent.conflict" in record.message]


@pytest.mark.parametrize("instance", [None, "other"])
async def test_another_agent_with_the_uid_replaces_one_that_is_dead(
    instance: str | None, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "SIGN_OF_LIFE_S", 0.1)
    async with dial(router.server_port, TOKEN, uid="A", instance="i"):
        first = await router.directory.table.next_link(AgentKey("A", None), PATIENCE_S)
        async with dial(router.server_port, TOKEN, uid="A", instance=instance) as second:
            agent = await connected(router, "A", other_than=first)
            assert agent.connection_id == second.link_id
            assert [link.connection_id for link in router.directory.table] == [second.link_id]


async def test_the_links_of_a_dead_agent_do_not_lock_its_successor_out(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "SIGN_OF_LIFE_S", 0.3)
    monkeypatch.setattr(table, "ANSWER_S", 0.05)
    async with (
        dial(router.server_port, TOKEN, uid="A", instance="dead") as dead,
        dial(router.server_port, TOKEN, uid="A", instance="new") as first,
        dial(router.server_port, TOKEN, uid="A", instance="new") as second,
    ):
        assert await closed(dead) == 1006
        assert await closed(first) == 1000  # it is replaced, and not refused
        assert [link.connection_id for link in router.directory.table] == [second.link_id]


async def test_an_agent_that_closes_its_second_link_keeps_the_first(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_KEPT_S", 0.5)
    async with dial(router.server_port, TOKEN, uid="A", instance="i") as first:
        agent = await connected(router, "A")
        async with dial(router.server_port, TOKEN, uid="A", instance="i"):
            pass  # it is closed before it has answered
        async with dial(router.server_port, TOKEN, uid="A", instance="i"):
            await connected(router, "A", other_than=agent)
            assert agent.retiring
        async with asyncio.timeout(PATIENCE_S):
            while agent.retiring:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.6)  # longer than a retired link is kept
        assert router.directory.table.get(first.link_id) is agent
        assert agent.is_open


async def test_an_agent_with_two_addresses_of_a_router_keeps_its_older_link(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "SAME_ROUTER_S", 0.1)
    said: list[ChangeKind] = []
    router.directory.changes.subscribe(lambda change: said.append(change.kind))
    addresses = tuple(DialledRouter(f"{host}:{router.server_port}") for host in ("127.0.0.1", "localhost"))
    settings = Settings(
        identity=IdentitySettings(uid="A"),
        server=ServerSettings(enabled=False),
        client=ClientSettings(enabled=True, address=addresses, token=TOKEN),
        jobs=JobSettings(root=tmp_path),
    )
    async with running_agent(settings):
        first = await connected(router, "A")
        await asyncio.sleep(1.0)  # the other address is tried again and again
        assert list(router.directory.table) == [first]
        assert first.is_open
    assert said[0] == ChangeKind.AGENT_UP
    assert ChangeKind.AGENT_CONFLICT not in said


async def test_changes_of_agents_are_published(router: Router) -> None:
    said: list[tuple[str, str]] = []
    router.directory.changes.subscribe(lambda change: said.append((change.kind.value, change.agent_uid)))
    async with dial(router.server_port, TOKEN, uid="A", instance="i") as first:
        await connected(router, "A")
        async with dial(router.server_port, TOKEN, uid="A", instance="other") as second:
            await answer(first, 1)
            assert await closed(second) == 1008
    await disconnected(router)
    assert said == [("agent.up", "A"), ("agent.conflict", "A"), ("agent.down", "A")]


async def refused(router: Router, token: str, uid: str) -> bool:
    try:
        async with dial(router.server_port, token, uid=uid):
            return False
    except websockets.ConnectionClosed as error:
        return error.rcvd is not None and error.rcvd.code == 1008


async def test_a_uid_belongs_to_the_token_that_it_came_with() -> None:
    settings = router_settings(server=RouterServer(accept_tokens=(AcceptedToken("a"), AcceptedToken("b"))))
    async with running_router(settings) as router:
        async with dial(router.server_port, "a", uid="A"):
            await connected(router, "A")
            assert await refused(router, "b", "A")
        await disconnected(router)
        assert not await refused(router, "b", "A")


async def test_a_token_may_be_good_for_some_uids_only() -> None:
    tokens = (AcceptedToken("t", "node-*"), AcceptedToken("t", "extra"), AcceptedToken("any"))
    async with running_router(router_settings(server=RouterServer(accept_tokens=tokens))) as router:
        assert not await refused(router, "t", "node-1")
        assert not await refused(router, "t", "extra")
        assert await refused(router, "t", "other")
        assert not await refused(router, "any", "other")


async def test_a_link_that_waits_for_a_sign_of_life_is_closed_when_its_token_is_gone(router: Router) -> None:
    async with (
        dial(router.server_port, TOKEN, uid="A", instance="i") as first,
        dial(router.server_port, TOKEN, uid="A", instance="other") as second,
    ):
        await first.next_of(1)  # the router asks for the sign of life
        router.reload(lambda: router_settings(server=RouterServer(accept_tokens=(AcceptedToken("new"),))))
        assert await closed(first) == 1008
        assert await closed(second) == 1008
        assert not len(router.directory.table)


async def test_a_link_that_waits_for_a_sign_of_life_is_closed_when_the_router_ends() -> None:
    async with running_router() as router, dial(router.server_port, TOKEN, uid="A", instance="i") as first:
        async with dial(router.server_port, TOKEN, uid="A", instance="other") as second:
            await first.next_of(1)
            router.end(0)
            router.end(0)
            stopping = asyncio.create_task(router.stop())
            assert await closed(second) == 1001
        await stopping


async def test_a_link_that_is_lost_as_it_is_admitted_is_given_to_no_call(router: Router) -> None:
    def lose(change: object) -> None:
        for agent in router.directory.table:
            agent.connection.link.abort("the test breaks it")
        unsubscribe()

    unsubscribe = router.directory.changes.subscribe(lose)
    waiting = asyncio.create_task(router.directory.table.next_link(AgentKey("A", None), PATIENCE_S))
    async with dial(router.server_port, TOKEN, uid="A") as lost:
        await closed(lost)
    async with dial(router.server_port, TOKEN, uid="A") as second:
        assert (await waiting).connection_id == second.link_id


async def test_no_log_line_has_a_token(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert await refused(router, "an-unknown-secret", "A")
    async with dial(router.server_port, TOKEN, uid="A"):
        await connected(router, "A")
    assert "an-unknown-secret" not in caplog.text
    assert TOKEN not in caplog.text
