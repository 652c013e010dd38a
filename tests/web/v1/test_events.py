"""``GET /v1/events`` of a router with an agent."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from pagent.config.model import ClientSettings, Settings
from pagent.config.router import Access, RouterControl
from pagent.relay.changes import ChangeKind
from pagent.router import Router
from pagent.web.v1 import event_log, events
from tests.access.conftest import TOKENS, token
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import ask, connected, router_settings, running_router
from tests.kit.wire import wire
from tests.web.v1.listener import Event, listening
from tests.web.v1.portal import Portal, site


async def _job(router: Router, agent_uid: str, **terms: object) -> str:
    link = router.directory.table.agent(agent_uid)
    assert link is not None
    info = await router.directory.create(link, "a job", **terms)  # type: ignore[arg-type]
    return str(info["uid"])


async def test_the_life_of_a_job_is_seen_as_its_get_shows_it(settings: Settings) -> None:
    async with site(settings) as (router, agent), listening(router.control_port) as events_:
        assert events_.status == 200
        assert events_.fields["content-type"] == "text/event-stream"
        assert events_.fields["cache-control"].startswith("no-store")
        uid = await _job(router, agent.uid, labels={"team": "a"})
        portal = Portal(router.control_port)
        created = await events_.until("job.created")
        assert created.data == await portal.get(f"/v1/jobs/{uid}")
        link = router.directory.table.agent(agent.uid)
        assert link is not None
        await link.call("job_start", uid, [sys.executable, "-c", "raise SystemExit(3)"], {}, port_expected_count=0)
        found = [(await events_.next()) for _ in range(3)]
        assert {each.name for each in found} == {"job.state"}
        assert [each.data["state"] for each in found] == ["PENDING", "RUNNING", "FINISHED"]
        assert found[-1].data == await portal.get(f"/v1/jobs/{uid}")
        assert found[-1].data["exit_code"] == 3
        await link.call("job_remove", uid)
        removed = await events_.next()
        assert (removed.name, removed.data["uid"]) == ("job.removed", uid)
        numbers = [int(each.id.rpartition("-")[2]) for each in (created, *found, removed)]
        assert numbers == [numbers[0] + more for more in range(5)]
        assert events_.fields["x-pagent-event-id"] == f"{created.id.rpartition('-')[0]}-{numbers[0] - 1}"


async def test_agents_come_are_cordoned_and_go(settings: Settings) -> None:
    async with running_router() as router, listening(router.control_port) as events_:
        portal = Portal(router.control_port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_agent(settings, router, portal))
            up = await events_.next()
            cordoned, again = [await events_.next() for _ in range(2)]
            down = await events_.next()
        assert [each.name for each in (up, cordoned, again, down)] == [
            "agent.up",
            "agent.cordoned",
            "agent.cordoned",
            "agent.down",
        ]
        assert [each.data["cordoned"] for each in (cordoned, again)] == [True, False]
        assert len(up.data["links"]) == 1
        assert down.data["links"] == []
        assert up.data["uid"] == down.data["uid"]


async def _agent(settings: Settings, router: Router, portal: Portal) -> None:
    client = ClientSettings(enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN)
    async with running_agent(replace(settings, client=client)) as agent:
        await connected(router, agent.uid)
        for on in (True, False):
            await portal.ask("PATCH", f"/v1/agents/{agent.uid}", {"cordoned": on})


@pytest.mark.parametrize("by_field", [True, False])
async def test_events_that_were_missed_come_first(settings: Settings, by_field: bool) -> None:
    async with site(settings) as (router, agent):
        async with listening(router.control_port) as first:
            uid = await _job(router, agent.uid)
            seen = await first.until("job.created")
        missed = [await _job(router, agent.uid) for _ in range(3)]
        query = "" if by_field else f"?after={seen.id}"
        fields = [("Last-Event-ID", seen.id)] if by_field else []
        async with listening(router.control_port, query, fields=fields) as second:
            found = [await second.next() for _ in missed]
            assert [each.data["uid"] for each in found] == missed
            assert uid not in missed
            last = await _job(router, agent.uid)
            assert (await second.next()).data["uid"] == last


@pytest.mark.parametrize("given", ["{other}-1", "x", "-", "{instance}-999", "{instance}-x", "{instance}-\u0663"])
async def test_an_id_that_is_not_known_is_answered_with_reset(settings: Settings, given: str) -> None:
    async with site(settings) as (router, agent):
        await _job(router, agent.uid)
        async with listening(router.control_port) as first:
            instance = first.fields["x-pagent-event-id"].rpartition("-")[0]
        event_id = given.format(other="0" * len(instance), instance=instance)
        async with listening(router.control_port, fields=[("Last-Event-ID", event_id)]) as events_:
            reset = await events_.next()
            assert (reset.name, reset.data) == ("reset", {})
            uid = await _job(router, agent.uid)
            following = await events_.next()
            assert (following.name, following.data["uid"]) == ("job.created", uid)


async def test_an_event_that_is_not_kept_any_more_is_answered_with_reset(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "EVENTS_KEPT", 2)
    async with site(settings) as (router, agent):
        async with listening(router.control_port) as first:
            await _job(router, agent.uid)
            seen = await first.until("job.created")
        for _ in range(3):
            await _job(router, agent.uid)
        async with listening(router.control_port, f"?after={seen.id}") as events_:
            assert (await events_.next()).name == "reset"


async def test_a_caller_sees_the_events_of_its_own_jobs(settings: Settings) -> None:
    closed = router_settings(access=Access(tokens=TOKENS))
    async with site(settings, closed) as (router, agent), AsyncExitStack() as stack:
        ann, bob, reader = [
            await stack.enter_async_context(listening(router.control_port, token=f"secret-{name}"))
            for name in ("ann", "bob", "reader")
        ]
        of_ann = await _job(router, agent.uid, labels={"pagent/owner": "ann"})
        of_bob = await _job(router, agent.uid, labels={"pagent/owner": "bob"})
        link = router.directory.table.agent(agent.uid)
        router.directory.changes.publish(ChangeKind.TICKET_CREATED, agent.uid, None, data={"of": "all"})
        router.directory.changes.publish(
            ChangeKind.TICKET_CREATED, agent.uid, router.directory.jobs.get(of_ann), data={"of": "ann"}
        )
        router.directory.changes.publish(ChangeKind.AGENT_UP, agent.uid, link=link)

        async def all_of(each: object) -> list[object]:
            found = list[Event]()
            while not found or found[-1].name != "agent.up":
                found.append(await each.next())  # type: ignore[attr-defined]
            return [event.data.get("uid", event.data) for event in found[:-1]]

        assert await all_of(ann) == [of_ann, {"of": "all"}, {"of": "ann"}]
        assert await all_of(bob) == [of_bob, {"of": "all"}]
        assert await all_of(reader) == [of_ann, of_bob, {"of": "all"}, {"of": "ann"}]


async def test_notes_are_no_events(settings: Settings) -> None:
    async with site(settings) as (router, agent), listening(router.control_port) as events_:
        uid = await _job(router, agent.uid)
        await events_.until("job.created")
        router.directory.changes.publish(ChangeKind.JOB_NOTE, agent.uid, router.directory.jobs.get(uid), "ticket")
        uid = await _job(router, agent.uid)
        assert (await events_.next()).data["uid"] == uid


async def test_a_token_that_is_revoked_ends_its_streams_and_quotas_count_them() -> None:
    settings = router_settings(access=Access(tokens=TOKENS))
    async with (
        running_router(settings) as router,
        listening(router.control_port, token="secret-limited") as limited,
        listening(router.control_port, token="secret-limited") as second,
        listening(router.control_port, token="secret-ann") as ann,
    ):
        assert (limited.status, second.status, ann.status) == (200, 429, 200)
        others = replace(settings, access=Access(tokens=(token("bob", "read"),)))
        router.reload(lambda: others)
        for each in (limited, ann):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await each.next()


async def test_streams_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENT_STREAMS_MAX", 1)
    async with running_router() as router:
        async with listening(router.control_port), listening(router.control_port) as second:
            assert (second.status, second.fields["retry-after"]) == (503, "5")
            assert second.fields["content-type"] == "application/problem+json"
        await _room(router)


async def test_a_comment_keeps_an_idle_stream(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (event_log, events):
        monkeypatch.setattr(module, "KEEPALIVE_S", 0.01)
    async with site(settings) as (router, _), listening(router.control_port) as events_:
        await events_.comment()
        await events_.comment()


async def test_a_stream_ends_at_once_with_the_router() -> None:
    control = RouterControl(interface="127.0.0.1", port=0, drain_s=60.0)
    async with running_router(router_settings(control=control)) as router, listening(router.control_port) as events_:
        router.end(0)
        async with asyncio.timeout(PATIENCE_S):
            await router.stop()
        with pytest.raises(EOFError):
            await events_.next()


async def test_head_is_answered_without_a_stream() -> None:
    async with running_router() as router, listening(router.control_port, method="HEAD") as events_:
        assert (events_.status, events_.fields["content-type"]) == (200, "text/event-stream")
        async with asyncio.timeout(PATIENCE_S):
            assert await events_.rest() == b""


async def test_unknown_parameters_are_refused() -> None:
    async with running_router() as router, listening(router.control_port, "?since=x") as events_:
        assert events_.status == 400


def pool_request(message: str) -> dict[str, object]:
    """Return the data of an event of a pool."""
    names = dict.fromkeys(("id", "pool", "agent", "job", "command_job"), "x")
    texts = {"message": message, "command_output": [message], "error": None}
    times = {"created_at": None, "state_changed_at": "2020-02-02T02:02:02Z"}
    return {**names, **texts, **times, "state": "queued", "parameters": {}}


async def test_a_reader_that_is_too_slow_gets_reset(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "EVENTS_KEPT", 100)
    async with site(settings) as (router, _), listening(router.control_port) as slow:
        for _ in range(100):
            for _ in range(50):
                router.directory.changes.publish(ChangeKind.POOL_REQUEST, "A", data=pool_request("x" * 10_000))
            await asyncio.sleep(0.005)
        seen = 0
        while (await slow.next()).name != "reset":
            seen += 1
        assert 0 < seen < 5_000


async def test_a_reader_that_does_not_read_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "EVENT_STALLED_S", 0.05)
    monkeypatch.setattr(events, "EVENT_STREAMS_MAX", 1)
    async with running_router() as router, listening(router.control_port) as slow:
        for _ in range(10_000):
            router.directory.changes.publish(ChangeKind.POOL_REQUEST, "A", data={"text": "x" * 2_800})
        await _room(router)
        with suppress(ConnectionError):
            assert not (await slow.rest()).endswith(b"\r\n0\r\n\r\n"), "the stream is cut, not ended"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def _room(router: Router) -> None:
    """Wait until one more stream can be opened."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with listening(router.control_port) as another:
                if another.status == 200:
                    return


async def test_clients_that_are_gone_at_once_are_no_errors(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is reset with, or just after, the request: the answer meets a connection that is closing."""
    async with running_router() as router:
        for turns in range(12):
            for path in (b"/v1/events", b"/v1/events?samples=1"):
                async with wire(router.control_port) as client:
                    client.say(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    client.reset()
        assert (await ask(router.control_port, "GET", "/v1/agents")).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
