"""Agents and commands that do not do what they should."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from pagent.config.model import Settings
from pagent.config.router import Access
from pagent.errors import ProtocolError
from pagent.relay.pools import driver, engine
from pagent.relay.pools.notes import (
    POOL_LABEL,
    REQUEST_NOTE,
    RID_LABEL,
    RequestData,
    agent_uid_of,
    command_uid_of,
)
from pagent.router import Router
from pagent.wire import identity
from tests.kit.pools import HOST, JOIN, has_arrived, job, keys_in, message_of, pool_of, requests, running_pools, states
from tests.kit.routers import router_settings, running_router
from tests.kit.transfers import eventually
from tests.kit.watched import Watched, watched_agent


def admit(router: Router, token: str, uid: str, instance: str) -> str | None:
    data: dict[str, Any] = {"auth": {"uid": uid, "name": "n", "token": token}, "instance": instance}
    return router.pools.joins.admit(identity.read_peer(data))


async def test_one_process_joins_while_the_request_lasts(settings: Settings, tmp_path: Path) -> None:
    given = tmp_path / "given"
    pool = pool_of("sh", "-c", f"cat > {given}.new; mv {given}.new {given}; exec sleep 600")
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, _):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(given.exists)
        data = json.loads(given.read_text())
        uid, token = data["uid"], data["token"]
        assert uid == requests(router.pools)[0].agent_uid
        assert admit(router, token, "0" * 32, "i") is None  # it is of another agent
        assert admit(router, token + "x", uid, "i") is None
        realm = admit(router, token, uid, "i")
        assert realm is not None
        assert admit(router, token, uid, "i") == realm
        with pytest.raises(ProtocolError, match="another process has joined before"):
            admit(router, token, uid, "second")
        await router.pools.cancel(wanted.uid)
        with pytest.raises(ProtocolError, match="has ended"):
            admit(router, token, uid, "i")


async def test_a_command_that_ignores_term_is_killed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "KILL_AFTER_S", 0.3)
    script = "trap '' TERM; echo stays; while :; do sleep 0.1; done"
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("sh", "-c", script)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: message_of(router, wanted.uid) == "stays")
        await router.pools.cancel(wanted.uid)
        await eventually(lambda: states(router.pools) == ["ended"] and not host.jobs.jobs())


async def test_a_command_that_keeps_running_without_its_agent_is_ended(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine may not notice the end of what it has started."""
    monkeypatch.setattr(driver, "LEFT_S", 0.3)
    script = f"{' '.join(JOIN)}; echo goes on; exec sleep 600"
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("sh", "-c", script, idle_s=0.1)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        await router.directory.remove(wanted.uid)
        await eventually(lambda: states(router.pools) == ["ended"] and not host.jobs.jobs())


async def test_a_command_that_ends_at_once_with_success(settings: Settings, tmp_path: Path) -> None:
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("true")) as (router, _):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: states(router.pools) == ["ended"])
        assert message_of(router, wanted.uid).startswith("the command has ended before its agent came")


async def test_a_command_that_prints_its_input(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The token is in no message, no error, no log and no event."""
    caplog.set_level(logging.DEBUG)
    given = tmp_path / "given"
    pool = pool_of("sh", "-c", f"tee {given}; exit 1")
    async with running_pools(settings, keys_in(tmp_path), p=pool) as (router, _):
        events: list[str] = []
        router.directory.changes.subscribe(lambda change: events.append(f"{change.data} {change.job}"))
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: states(router.pools) == ["ended"])
        token = json.loads(given.read_text())["token"]
        texts = [message_of(router, wanted.uid), str(requests(router.pools)), caplog.text, *events]
        for text in texts:
            assert token not in text
            assert token.rpartition(".")[2] not in text
        assert "***" in texts[0]


async def test_megabytes_of_output(settings: Settings, tmp_path: Path) -> None:
    script = f"head -c 20000000 /dev/urandom; printf '\\n\\033[31mjoins\\033[0m\\0\\n'; exec {' '.join(JOIN)}"
    async with running_pools(settings, keys_in(tmp_path), p=pool_of("sh", "-c", script)) as (router, _):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))


@pytest.mark.parametrize(
    ("uid", "rid", "text"),
    [("rogue", "0123456789abcdef", "does not run commands of pool"), (HOST, "f" * 16, "is the request of another job")],
)
async def test_an_agent_cannot_make_up_a_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, uid: str, rid: str, text: str
) -> None:
    settings = router_settings(access=Access(keys_file=keys_in(tmp_path)), pools={"p": pool_of(*JOIN)})
    data = RequestData("p", "0123456789abcdef", agent_uid_of("0123456789abcdef"), {}, "a-user", time.time(), job())
    command = command_uid_of(rid)
    service = Watched(command)
    service.jobs[command]["labels"] = {POOL_LABEL: "p", RID_LABEL: rid}
    service.notes[command, REQUEST_NOTE] = data.encode()
    async with running_router(settings) as router, watched_agent(router, uid, service):
        await eventually(lambda: text in caplog.text)
        assert requests(router.pools) == ()
