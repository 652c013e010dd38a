"""Responses of the RPC port and the report port to other requests than links and reports."""

from __future__ import annotations

import pytest

from pagent.agent import Agent
from tests.kit.peer import Peer
from tests.web.requests import ask

UPGRADE = {
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "v1.prpc.datadvance",
}


@pytest.mark.parametrize("path", ["/", "/rpc", "/rpc/v1/", "/rpc/v2", "/info", "/job_started", "/%72pc/v1x"])
async def test_other_paths_are_404(agent: Agent, path: str) -> None:
    assert (await ask(agent.rpc_port, "GET", path)).status == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
async def test_other_methods(agent: Agent, method: str) -> None:
    assert (await ask(agent.rpc_port, method, "/rpc/v1")).status == 405


@pytest.mark.parametrize("missing", [None, *UPGRADE])
async def test_an_incomplete_upgrade_is_400(agent: Agent, missing: str | None) -> None:
    fields = {} if missing is None else {name: value for name, value in UPGRADE.items() if name != missing}
    if missing == "Sec-WebSocket-Protocol":
        fields["Sec-WebSocket-Protocol"] = "chat"
    answer = await ask(agent.rpc_port, "GET", "/rpc/v1", fields)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"


# --- the port report --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/info", 404), ("GET", "/job_started/", 404), ("POST", "/job_started", 405)],
)
async def test_requests_that_are_not_reports(agent: Agent, method: str, path: str, status: int) -> None:
    answer = await ask(agent.report_port, method, path)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", b""),
        ("?job_id=JOB", b""),
        ("?port=80", b""),
        ("?job_id=JOB&port=80&port=81", b""),
        ("?job_id=JOB&port=80&more=1", b""),
        ("?job_id=JOB&port=0", b"port"),
        ("?job_id=JOB&port=65536", b"port"),
        ("?job_id=JOB&port=-1", b"port"),
        ("?job_id=JOB&port=80.0", b"port"),
        ("?job_id=JOB&port=%D9%A3", b"port"),
        ("?job_id=unknown&port=80", b"unknown job"),
        ("?job_id=%3Cscript%3E&port=%3Cscript%3E", b""),
        ("?job_id=JOB&port=80", b"unknown job"),
    ],
)
async def test_a_bad_report_is_400_with_the_reason(agent: Agent, peer: Peer, query: str, reason: bytes) -> None:
    job = (await peer.call("job_create"))["uid"]
    answer = await ask(agent.report_port, "GET", "/job_started" + query.replace("JOB", job))
    assert answer.status == 400
    assert reason in answer.body
    assert answer.body
    assert b"script" not in answer.body
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
