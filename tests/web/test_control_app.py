"""The control API over HTTP, on an agent."""

from __future__ import annotations

import http.client
import json
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pagent.agent import Agent
from pagent.config.model import ControlSettings, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import Peer
from tests.web.requests import Answer, ask


def is_plain(answer: Answer) -> bool:
    """Return whether the response is not cached and has no markup."""
    kind = answer.headers["content-type"].partition(";")[0]
    return answer.headers["cache-control"] == "no-store" and kind in ("application/json", "text/plain")


async def test_info_is_the_handshake_data_without_a_token(agent: Agent, peer: Peer) -> None:
    answer = await ask(agent.control_port, "GET", "/info")
    info = json.loads(answer.body)
    assert answer.status == 200
    assert is_plain(answer)
    assert info["auth"] == {"uid": agent.uid, "name": "agent"}
    assert info == peer.hello[2][2]
    assert set(info["platform"]) == {"system", "node", "release", "version", "machine", "processor"}


async def test_jobs(agent: Agent, peer: Peer) -> None:
    assert json.loads((await ask(agent.control_port, "GET", "/jobs")).body) == {"jobs": []}
    info = await peer.call("job_create", "its name")
    answer = await ask(agent.control_port, "GET", "/jobs")
    (job,) = json.loads(answer.body)["jobs"]
    assert is_plain(answer)
    assert job.pop("sandbox") == str(next(iter(agent.jobs.jobs())).sandbox.path)
    assert job == {
        "uid": info["uid"],
        "name": "its name",
        "sender": {"direction": "SERVER", "uid": "router", "name": "a router"},
        "port": None,
        "state": "NEW",
    }


async def test_connections(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, uid="the first") as peer:
        answer = await ask(agent.control_port, "GET", "/connections")
        (connection,) = json.loads(answer.body)["connections"]
        assert is_plain(answer)
        assert set(connection) == {"uid", "mode", "peer"}
        assert connection["uid"] == peer.hello[2][1]
        assert connection["mode"] == "SERVER"
        assert connection["peer"]["auth"] == {"uid": "the first", "name": "a router"}
        assert TOKEN.encode() not in answer.body


async def test_unusual_handshake_data_does_not_break_the_response(agent: Agent) -> None:
    async with connect(
        f"ws://127.0.0.1:{agent.rpc_port}/rpc/v1", subprotocols=[peers.SUBPROTOCOL], compression=None
    ) as socket:
        peer = Peer(socket)
        deep: list[Any] = []
        for _ in range(200):
            deep = [deep]
        auth = {"uid": b"\xff\x00", "name": "<b>\u2028", "token": TOKEN}
        await peer.send([1, 1, [1, None, {"auth": auth, "more": {1: 2**63, b"k": [float("nan")], "deep": deep}}]])
        assert (await peer.receive())[0] == 6
        answer = await ask(agent.control_port, "GET", "/connections")
        assert answer.status == 200
        assert len(json.loads(answer.body)["connections"]) == 1
        assert (await ask(agent.control_port, "GET", "/jobs")).status == 200


async def test_shutdown_is_a_graceful_end(agent: Agent) -> None:
    answer = await ask(agent.control_port, "POST", "/shutdown")
    assert answer.status == 200
    assert is_plain(answer)
    assert await agent.wait() == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/info/", 404),
        ("GET", "/<script>alert(1)</script>", 404),
        ("GET", "//info", 404),
        ("GET", "/rpc/v1", 404),
        ("GET", "/job_started", 404),
        ("GET", "/shutdown", 405),
        ("POST", "/info", 405),
        ("DELETE", "/jobs", 405),
    ],
)
async def test_other_requests(agent: Agent, method: str, path: str, status: int) -> None:
    answer = await ask(agent.control_port, method, path)
    assert answer.status == status
    assert is_plain(answer)
    assert b"script" not in answer.body


# --- the control token ------------------------------------------------------------------------------


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    return replace(settings, control=ControlSettings(token="the control tokén"))


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "the control tokén", "Basic the control tokén"])
async def test_requests_without_the_token_are_refused(guarded: Settings, given: str | None) -> None:
    fields = {} if given is None else {"Authorization": given.encode()}
    async with running_agent(guarded) as agent:
        for method, path in (("GET", "/info"), ("GET", "/jobs"), ("GET", "/connections"), ("POST", "/shutdown")):
            answer = await ask(agent.control_port, method, path, fields)
            assert (answer.status, answer.body) == (401, b"a control token is required")
            assert is_plain(answer)
        assert not agent.is_ending


async def test_with_the_token(guarded: Settings) -> None:
    fields = {"Authorization": "Bearer the control tokén".encode()}
    async with running_agent(guarded) as agent:
        assert (await ask(agent.control_port, "GET", "/jobs", fields)).status == 200


async def test_it_can_be_turned_off(settings: Settings) -> None:
    async with running_agent(replace(settings, control=ControlSettings(enabled=False))) as agent:
        assert agent.control_port == 0


# --- other requests on its port ---------------------------------------------------------------------


async def test_an_oversized_request(agent: Agent) -> None:
    answer = await ask(agent.control_port, "GET", "/info", {"X": b"y" * 100_000})
    assert answer.status == 400
    assert (await ask(agent.control_port, "GET", "/info")).status == 200


async def test_the_control_port_has_no_rpc_route(agent: Agent) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(f"ws://127.0.0.1:{agent.control_port}/rpc/v1"):
            pass
    assert refusal.value.response.status_code == http.client.NOT_FOUND
