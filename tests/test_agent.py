"""The main way, end to end: a router dials in or is dialled, a job runs, its page is read through the link."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pagent.agent import Agent
from pagent.config.model import ClientSettings, Settings
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process, running_agent
from tests.kit.peer import CallFailed, Peer
from tests.kit.programs import ECHO, start_program

#: A job of the field: it chooses a port itself and reports it.
REPORTING = """
import http.server, os, urllib.request
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
endpoint, job = os.environ["DA__PAGENT__JOB_ENDPOINT"], os.environ["DA__PAGENT__JOB_ID"]
urllib.request.urlopen(f"{endpoint}?job_id={job}&port={server.server_port}").read()
server.serve_forever()
"""


async def read_a_page(peer: Peer) -> None:
    job = (await peer.call("job_create"))["uid"]
    info = await peer.call("job_start", job, [sys.executable, "-c", REPORTING], None, None, 1, False)
    assert info["state"] == "RUNNING"
    status, headers, body = await peer.http(job)
    assert status == 200
    assert ["Content-Type", "text/html; charset=utf-8"] in headers
    assert b"Directory listing" in b"".join(body)
    assert await peer.call("job_count_current_connection") == 1
    assert (await peer.call("job_remove", job))["state"] == "RUNNING"
    assert await peer.call("job_count_current_connection") == 0
    with pytest.raises(CallFailed, match="JobNotFoundError"):
        await peer.call("job_info", job)


async def test_a_router_that_dials_in(peer: Peer) -> None:
    await read_a_page(peer)


async def test_a_router_that_is_dialled(settings: Settings) -> None:
    async with peers.listen() as listener:
        client = ClientSettings(enabled=True, address=f"127.0.0.1:{listener.port}", token="its-own")
        async with running_agent(replace(settings, client=client)):
            router = await listener.accepted()
            assert router.hello[2][2]["auth"]["token"] == "its-own"
            await read_a_page(router)


async def test_a_body_survives_a_round_trip(peer: Peer) -> None:
    job = await start_program(peer, ECHO)
    status, _, body = await peer.http(job, "POST", "/a b", [("q", "ü&")], [("X-A", "1")], [b"one", b"two"])
    assert status == 200
    echoed = b"".join(body)
    assert echoed.startswith(b"POST /a%20b?q=%C3%BC%26 HTTP/1.1\r\n")
    assert echoed.endswith(b"\r\n\r\nonetwo")
    assert b"X-A: 1\r\n" in echoed


async def test_jobs_end_with_their_connection(agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as peer:
        job = await start_program(peer, ECHO)
        sandbox = next(iter(agent.jobs.jobs())).sandbox.path
        assert job
        assert sandbox.is_dir()
    async with peers.dial(agent.rpc_port, TOKEN) as other:
        with pytest.raises(CallFailed, match="JobNotFoundError"):
            await other.call("job_info", job)


async def test_an_agent_process_ends_by_a_signal(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent:
        assert set(agent.ports) == {"rpc", "control", "report"}
        async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
            await start_program(peer, ECHO)
            agent.signal(signal.SIGTERM)
            assert await agent.ended() == 0
            await peer.socket.wait_closed()
            assert peer.socket.close_code == 1001
    assert os.listdir(tmp_path) == []
