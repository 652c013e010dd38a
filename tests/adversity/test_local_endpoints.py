"""docs/contract.rst, "Local endpoints": foreign web pages reach no endpoint, and the agent is not a job.

The attacker is a page in a browser on this machine: it can send requests to any port of the loopback, but the browser
says so in ``Origin`` and ``Sec-Fetch-Site``; by DNS rebinding it can make them same-origin, and then ``Host`` is its
own. A job's page, served on another port of the loopback, is such a page too.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagent.agent import Agent
from pagent.config.model import ControlSettings, Settings
from tests.kit.agents import running_agent
from tests.kit.peer import CallFailed, Peer
from tests.web.requests import ask

FOREIGN_HOSTS = [
    "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "0.0.0.0",
    "evil.example@127.0.0.1.x", "127.0.0.1, evil.example", "[2001:db8::1]", "[", "", "x" * 1000,
]  # fmt: skip
OUR_HOSTS = ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:99", "localhost.", "[::1]", "[::1]:5", "127.8.8.8"]
FOREIGN_ORIGINS = [
    "http://evil.example", "https://localhost.evil.example", "null", "", "file://", "http://[", "http://192.0.2.1:80",
    "http://evil.example@127.0.0.1.x", "chrome-extension://abcdefgh", "http://127.0.0.1", "http://localhost:1", "http://127.0.0.1:x",
    "http://127.0.0.1:99999", "http://127.0.0.1 http://evil.example", "//x",
]  # fmt: skip


def targets(agent: Agent) -> list[tuple[int, str, str]]:
    control = [(agent.control_port, "GET", path) for path in ("/info", "/jobs", "/connections", "/elsewhere")]
    return [*control, (agent.control_port, "POST", "/shutdown"), (agent.report_port, "GET", "/job_started?port=1")]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_foreign_host_gets_403(agent: Agent, host: str) -> None:
    for port, method, path in targets(agent):
        answer = await ask(port, method, path, host=host)
        assert answer.status in (400, 403), (path, answer)
        assert b"evil" not in answer.body
        assert answer.headers["content-type"].startswith("text/plain")
    assert not agent.is_ending


@pytest.mark.parametrize("host", OUR_HOSTS)
async def test_a_loopback_host_is_served(agent: Agent, host: str) -> None:
    assert (await ask(agent.control_port, "GET", "/info", host=host)).status == 200


async def test_a_configured_host_is_served(settings: Settings) -> None:
    control = ControlSettings(allowed_hosts=("Work.example",))
    async with running_agent(replace(settings, control=control)) as agent:
        for host, port in (("work.example", ""), ("WORK.example:80", ":80")):
            origin = {"Origin": f"https://work.example{port}"}
            assert (await ask(agent.control_port, "GET", "/info", origin, host=host)).status == 200
        assert (await ask(agent.control_port, "GET", "/info", host="evil.example")).status == 403
        # A name for the control API is not one for the port report.
        assert (await ask(agent.report_port, "GET", "/job_started", host="work.example")).status == 403


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_foreign_origin_gets_403(agent: Agent, origin: str) -> None:
    for port, method, path in targets(agent):
        answer = await ask(port, method, path, {"Origin": origin})
        assert answer.status == 403, (path, answer)
        assert b"evil" not in answer.body
        assert "access-control-allow-origin" not in answer.headers
    assert not agent.is_ending


async def test_two_origins_get_403(agent: Agent) -> None:
    fields = {"Origin": "http://127.0.0.1\r\nOrigin: http://evil.example"}
    assert (await ask(agent.control_port, "POST", "/shutdown", fields)).status in (400, 403)
    fields = {"Sec-Fetch-Site": "none\r\nSec-Fetch-Site: cross-site"}
    assert (await ask(agent.control_port, "POST", "/shutdown", fields)).status in (400, 403)
    assert not agent.is_ending


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
async def test_its_own_origin_is_served(agent: Agent, host: str) -> None:
    origin = {"Origin": f"http://{host}:{agent.control_port}", "Sec-Fetch-Site": "same-origin"}
    answer = await ask(agent.control_port, "GET", "/info", origin, host=f"{host}:{agent.control_port}")
    assert answer.status == 200


async def test_two_hosts_are_not_served(agent: Agent) -> None:
    fields = {"X": "y\r\nHost: evil.example"}
    assert (await ask(agent.control_port, "GET", "/info", fields)).status in (400, 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "nonsense"])
async def test_a_request_of_another_site_gets_403(agent: Agent, site: str) -> None:
    for port, method, path in targets(agent):
        assert (await ask(port, method, path, {"Sec-Fetch-Site": site})).status == 403
    assert not agent.is_ending


@pytest.mark.parametrize("fields", [{}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_programs_and_a_typed_address_are_served(agent: Agent, fields: dict[str, str]) -> None:
    assert (await ask(agent.control_port, "GET", "/info", fields)).status == 200


async def test_a_preflight_is_refused(agent: Agent) -> None:
    fields = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await ask(agent.control_port, "OPTIONS", "/shutdown", fields)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_the_agents_own_ports_are_no_jobs(agent: Agent, peer: Peer) -> None:
    for port in (agent.rpc_port, agent.control_port, agent.report_port):
        job = (await peer.call("job_create"))["uid"]
        with pytest.raises(CallFailed, match=r"ValueError: port \d+ is the agent's own"):
            await peer.call("job_start", job, ["true"], None, port=port, ready="connect")
        call = await peer.start(20, "job_start", job, ["sleep", "1000"], None)
        await peer.call("job_count_current_connection")  # after it the start has begun
        answer = await ask(agent.report_port, "GET", f"/job_started?job_id={job}&port={port}")
        assert (answer.status, answer.body) == (400, b"bad port: it is the agent's own")
        assert (await peer.call("job_info", job))["state"] == "PENDING"
        await peer.call("job_remove", job)
        with pytest.raises(CallFailed):
            await peer.outcome(call)
