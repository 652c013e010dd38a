"""No handler of the router's API is reached around the gate, and what the gate refuses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pagent.access.operations import ADMIN, FILES, JOBS, METRICS, NONE, PROBE, READ, RPC, UNROUTED, WSCONNECT
from pagent.agent import Agent
from pagent.config.router import DialledAgent, DialSettings, RouterControl, RouterServer
from pagent.log import ACCESS_LOG
from pagent.router import Router
from pagent.rpc.directory import JobAddress, Subject
from pagent.web.router_app import router_app, routes_of
from pagent.web.v1.event_feed import EventFeed
from pagent.web.wsconnect import WebSocketJoins
from tests.kit.agents import TOKEN
from tests.kit.directory import OpenGate
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask, connected, router_settings, running_router
from tests.web.closed_gate import Shut, Untouched, listener_of


def no_link(subject: Subject) -> None:
    raise AssertionError("reached")


@pytest.fixture
async def closed() -> AsyncIterator[tuple[int, Shut]]:
    """The port of a router whose gate is closed, and the gate."""
    gate, routes = Shut(), Untouched()
    joins = WebSocketJoins(routes, gate)
    async with listener_of(gate, routes, router_app(routes, gate, joins, no_link, EventFeed(routes))) as port:
        yield port, gate
    await joins.close()


#: What each request needs: the contract of docs/router.rst, by scope.
OPERATIONS = {
    "GET /rpc/v1": RPC,
    "GET /livez": PROBE,
    "GET /readyz": PROBE,
    "GET /metrics": METRICS,
    "GET /info": NONE,
    "GET /connections": READ,
    "POST /shutdown": ADMIN,
    "POST /jobs/create": JOBS,
    "POST /jobs/{connection}/{job}/start": JOBS,
    "POST /jobs/{connection}/{job}/wait": READ,
    "GET /jobs/{connection}/{job}/info": READ,
    "POST /jobs/{connection}/{job}/info": READ,
    "POST /jobs/{connection}/{job}/remove": JOBS,
    "POST /jobs/{connection}/{job}/wsconnect/{rest}": WSCONNECT,
    "* /jobs/{connection}/{job}/file/{rest}": FILES,
    "* /jobs/{connection}/{job}/archive": FILES,
}


def test_every_route_has_its_operation() -> None:
    routes = Untouched()
    table = routes_of(routes, WebSocketJoins(routes, OpenGate()), no_link)
    assert {f"{each.method} {re.sub(':.[*+]', '', each.path)}": each.operation for each in table} == OPERATIONS


@pytest.mark.parametrize("route", OPERATIONS)
async def test_no_handler_is_reached_around_the_gate(route: str, closed: tuple[int, Shut]) -> None:
    port, gate = closed
    method, path = route.split()
    job = JobAddress("-", "job") if "{job}" in path else None
    target = path.format(connection="-", job="job", rest="rest")
    for each in ("GET", "POST", "PUT") if method == "*" else (method,):
        gate.asked.clear()
        answer = await ask(port, each, target, b"" if each == "GET" else b"{}")
        assert (answer.status, answer.text) == (403, "closed")
        assert gate.asked == [(OPERATIONS[route], job)]


@pytest.mark.parametrize("target", ["/nowhere", "//info", "/jobs/create", "/jobs/-/job/http"])
async def test_what_has_no_route_is_judged_as_well(target: str, closed: tuple[int, Shut]) -> None:
    port, gate = closed
    assert (await ask(port, "GET", target)).status == 403
    assert gate.asked == [(UNROUTED, None)]


async def test_job_traffic_is_judged_before_the_job_is_looked_up(closed: tuple[int, Shut]) -> None:
    port, gate = closed
    answer = await ask(port, "GET", f"/jobs/{'0' * 32}/job/http/")
    assert answer.status == 403
    assert gate.asked == [("proxy", JobAddress("0" * 32, "job"))]


# --- what an open router refuses --------------------------------------------------------------------


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    settings = router_settings(control=RouterControl(allowed_hosts=("router.example",)))
    async with running_router(settings) as running:
        yield running


async def info(router: Router, host: str, *headers: tuple[str, str]) -> Answer:
    return await ask(router.control_port, "GET", "/info", headers=headers, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:80", "router.example", "ROUTER.example:8"])
async def test_hosts_that_are_served(host: str, router: Router) -> None:
    assert (await info(router, host)).status == 200


async def test_a_foreign_host_is_refused_but_not_for_probes(router: Router) -> None:
    answer = await info(router, "evil.example")
    assert (answer.status, answer.text) == (403, "this host name is not served here")
    assert answer["Cache-Control"] == "no-store, must-revalidate"
    assert (await ask(router.control_port, "GET", "/livez", host="evil.example")).status == 200
    assert (await ask(router.control_port, "GET", "/readyz", host="evil.example")).status == 200


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ],
)
async def test_requests_of_foreign_pages_are_refused(header: tuple[str, str], router: Router) -> None:
    answer = await info(router, "127.0.0.1:9", header)
    assert (answer.status, answer.text) == (403, "requests of foreign pages are refused")


async def test_its_own_pages_and_programs_may_ask(router: Router) -> None:
    fields = [("Origin", "http://127.0.0.1:9"), ("Sec-Fetch-Site", "same-origin")]
    assert (await info(router, "127.0.0.1:9", *fields)).status == 200


async def test_probes_say_whether_agents_have_had_their_time() -> None:
    async with running_router(router_settings(ready_wait=1000.0)) as router:
        assert (await ask(router.control_port, "GET", "/livez")).status == 200
        assert (await ask(router.control_port, "GET", "/readyz")).status == 503
        job = await ask(router.control_port, "GET", "/jobs/-/job/info")
        assert (job.status, job["Retry-After"]) == (503, "2")
    async with running_router() as router:
        assert (await ask(router.control_port, "GET", "/readyz")).status == 200
        job = await ask(router.control_port, "GET", "/jobs/-/job/info")
        assert (job.status, job.text) == (404, "job 'job' is not found")


async def test_a_connection_that_is_not_there(router: Router) -> None:
    gone = "f" * 32
    for name in (gone, "F" * 32, "none", "f" * 31):
        answer = await ask(router.control_port, "GET", f"/jobs/{name}/job/info")
        assert (answer.status, answer.text) == (404, f"connection {name!r} is not found")


@pytest.mark.parametrize("server", [RouterServer(enabled=False), RouterServer()])
async def test_a_router_that_no_agent_can_dial_is_ready_when_those_that_it_dials_are_there(
    server: RouterServer, agent: Agent, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    dialled = DialledAgent(f"127.0.0.1:{agent.rpc_port}", token)
    settings = router_settings(server=server, dial=DialSettings(agents=(dialled,)), ready_wait=1000.0)
    async with running_router(settings) as router:
        assert (await ask(router.control_port, "GET", "/readyz")).status == 503
        await connected(router, agent.uid)
        async with asyncio.timeout(PATIENCE_S):
            while (await ask(router.control_port, "GET", "/readyz")).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await ask(router.control_port, "GET", "/jobs/-/job/info")).status == 404


async def test_each_request_is_a_line_of_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    for on in (False, True):
        caplog.clear()
        with caplog.at_level("INFO", ACCESS_LOG):
            async with running_router(router_settings(control=RouterControl(access_log=on))) as router:
                await ask(router.control_port, "GET", "/info?secret=x", headers=[("X-Request-Id", "r1")])
                await ask(router.control_port, "POST", "/jobs/-/j/start", b"12345")
        lines = [json.loads(record.message) for record in caplog.records if record.name == ACCESS_LOG]
        if not on:
            assert lines == []
            continue
        get, post = lines
        assert (get["method"], get["path"], get["status"], get["id"]) == ("GET", "/info", 200, "r1")
        assert get["sent"] > 0
        assert (post["method"], post["path"], post["status"], post["job"]) == ("POST", "/jobs/-/j/start", 400, "j")
        assert (post["received"], post["client"], post["cut"]) == (5, "127.0.0.1", None)
