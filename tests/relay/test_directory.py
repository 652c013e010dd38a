"""Where jobs are found, with real agents."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client.link import connect
from pagent.config.model import ClientSettings, IdentitySettings, JobSettings, ServerSettings, Settings
from pagent.config.router import DialSettings, RouterClient
from pagent.errors import DialError, JobNotFoundError, LinkClosedError
from pagent.net import dial as net_dial
from pagent.relay import directory
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.router import Router
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.directory import JobAddress, JobFacts
from pagent.rpc.methods import unary
from pagent.wire import messages
from tests.kit.agents import TOKEN, running_agent
from tests.kit.field_agent import field_agent
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer, ask, connected, disconnected, router_settings, running_router
from tests.kit.transfers import eventually
from tests.kit.watched import Watched, known, listed, watched_agent, watched_link
from tests.test_moving import JOB

SLEEP = "import time; time.sleep(600)"


@asynccontextmanager
async def dialling_agent(router: Router, folder: Path, uid: str = "A") -> AsyncIterator[Agent]:
    root = folder / uid
    root.mkdir()
    settings = Settings(
        identity=IdentitySettings(uid=uid),
        server=ServerSettings(accept_tokens=(TOKEN,)),
        client=ClientSettings(
            enabled=True, address=f"127.0.0.1:{router.server_port}", token=TOKEN, reconnect_delay=0.1
        ),
        jobs=JobSettings(root=root),
    )
    async with running_agent(settings) as agent:
        await connected(router, uid)
        yield agent


async def create(router: Router, **agent: Any) -> Answer:
    return await ask(router.control_port, "POST", "/jobs/create", {"name": "job", "agent": agent})


async def info(router: Router, connection: str, job: str) -> Answer:
    return await ask(router.control_port, "GET", f"/jobs/{connection}/{job}/info")


async def test_a_job_is_found_when_its_link_is_made_anew(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json
        old = job["path"].split("/")[2]
        agent = router.directory.table.get(old)
        assert agent is not None
        agent.connection.link.abort("the test breaks it")
        new = (await connected(router, "A", other_than=agent)).connection_id
        for connection in (old, new, "-", "f" * 32):
            found = await info(router, connection, job["uid"])
            assert (found.status, found.json["path"]) == (200, f"/jobs/{new}/{job['uid']}")


async def test_a_job_outlives_a_restart_of_the_router(tmp_path: Path) -> None:
    settings = router_settings()
    async with running_router(settings) as router:
        ports = {
            "server": replace(settings.server, port=router.server_port),
            "control": replace(settings.control, port=router.control_port),
        }
        manager = dialling_agent(router, tmp_path)
        await manager.__aenter__()
        job = (await create(router, type="uid", uid="A")).json
    try:
        async with running_router(replace(settings, **ports)) as router:
            await connected(router, "A")
            for connection in (job["path"].split("/")[2], "-"):
                assert (await info(router, connection, job["uid"])).json["state"] == "NEW"
    finally:
        await manager.__aexit__(None, None, None)


async def test_a_job_of_an_agent_that_is_away_is_503_and_found_when_it_is_back(router: Router) -> None:
    service = Watched("j")
    async with watched_agent(router, "A", service):
        assert (await info(router, "-", "j")).status == 200
    await disconnected(router)
    gone = await info(router, "-", "j")
    assert (gone.status, gone["Retry-After"]) == (503, "2")
    async with watched_agent(router, "A", service):
        assert (await info(router, "-", "j")).status == 200


async def test_the_jobs_of_an_agent_that_ends_are_not_found(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json
    await disconnected(router)
    assert (await info(router, "-", job["uid"])).status == 404


async def test_jobs_of_agents_of_the_field_end_with_the_link(router: Router) -> None:
    async with field_agent("F", router.server_port, TOKEN):
        await connected(router, "F")
        job = (await create(router, type="uid", uid="F")).json
        assert (await info(router, "-", job["uid"])).status == 200
    await disconnected(router)
    assert (await info(router, "-", job["uid"])).status == 404
    assert (await info(router, job["path"].split("/")[2], job["uid"])).status == 404


async def test_the_state_of_a_job_of_the_field_is_that_of_the_latest_answer(router: Router) -> None:
    async with field_agent("F", router.server_port, TOKEN):
        await connected(router, "F")
        job = (await create(router, type="uid", uid="F")).json
        await known(router, job["uid"], "NEW")
        payload = {"args": ["x"], "env": {}}
        assert (await ask(router.control_port, "POST", f"{job['path']}/start", payload)).status == 200
        await known(router, job["uid"], "RUNNING")


async def test_a_removed_job_is_not_found(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json
        assert (await ask(router.control_port, "POST", f"{job['path']}/remove")).status == 200
        assert (await info(router, "-", job["uid"])).text == f"job {job['uid']!r} is not found"


async def test_a_job_that_a_second_agent_names_stays_with_the_first(router: Router) -> None:
    first, second = Watched("j"), Watched("j", "k")
    said: list[tuple[str, str]] = []
    router.directory.changes.subscribe(lambda change: said.append((change.kind.value, change.agent_uid)))
    async with watched_agent(router, "B", second):
        del second.jobs["j"]
        await second.say({"removed": "j"})
        await known(router, "j", None)
        async with watched_agent(router, "A", first):
            await second.change("j")
            await second.change("l")
            await known(router, "l", "NEW")
            assert (await info(router, "-", "j")).status == 200
            assert "job_info" in first.calls
            assert "job_info" not in second.calls
            assert ("agent.conflict", "B") in said
            await first.say({"removed": "j"})
            await eventually(lambda: router.directory.jobs.agent_of("j") == AgentKey("B", None))
            assert (await info(router, "-", "j")).status == 200
            assert "job_info" in second.calls


@asynccontextmanager
async def agents_that_dial_again(router: Router, count: int) -> AsyncIterator[dict[str, Watched]]:
    """Agents, each with a job, that dial the router's ports again and again."""
    services = {f"agent {number}": Watched(f"job {number}") for number in range(count)}

    async def dial_again(uid: str) -> None:
        lost: str | None = None
        while True:
            with suppress(DialError, LinkClosedError):
                async with watched_link(router, uid, services[uid], instance=uid, replaces=lost) as link:
                    lost = link.uid
                    await asyncio.shield(link.link.closed)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(dial_again(uid)) for uid in services]
    try:
        yield services
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def all_listed(router: Router, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(agent.is_watched for agent in router.directory.table) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_all_agents_are_back_after_a_restart_of_the_router() -> None:
    settings = router_settings()
    async with AsyncExitStack() as stack:
        async with running_router(settings) as router:
            agents = agents_that_dial_again(router, 50)
            await stack.enter_async_context(agents)
            await all_listed(router, 50)
        settings = replace(settings, server=replace(settings.server, port=router.server_port))
        async with running_router(settings) as router:
            await all_listed(router, 50)
            assert len(router.directory.table) == 50
            assert len(router.directory.jobs) == 50
            await stack.aclose()


# --- labels and further arguments of a job ----------------------------------------------------------


class Creating:
    """An agent of ours that creates jobs, with the arguments of its release."""

    def __init__(self, *names: str) -> None:
        self.names = {"linger", *names}
        self.given: list[dict[str, Any]] = []

    @unary
    def job_create(self, call: IncomingCall, name: str | None = None, **given: Any) -> Any:
        if unknown := set(given) - self.names:
            raise TypeError(f"job_create() got an unexpected keyword argument {unknown.pop()!r}")
        self.given.append(given)
        info = {"uid": given.get("uid", "1" * 32), "name": name}
        return {**info, "labels": given["labels"]} if "labels" in self.names else info


class Breaking(Watched):
    """The first creation is made, but its link is lost before the answer."""

    link: Connection | None = None

    @unary
    def job_create(self, call: IncomingCall, name: str | None = None, **given: Any) -> Any:
        info = super().job_create(call, name, **given)
        if self.calls.count("job_create") == 1:
            assert self.link is not None
            self.link.link.abort("the test breaks it")
        return info


async def test_a_creation_whose_link_is_lost_is_made_again_with_the_same_uid(router: Router) -> None:
    service = Breaking()
    async with watched_link(router, "A", service, instance="i") as link:
        service.link = link
        agent = await connected(router, "A")
        await listed(agent)
        creating = asyncio.create_task(router.directory.create(agent, "job"))
        await asyncio.shield(link.link.closed)
        async with watched_link(router, "A", service, instance="i", replaces=link.uid):
            info = await creating
            assert [*service.jobs] == [info["uid"]]
            assert service.calls == ["job_create", "job_create"]


async def test_a_creation_fails_if_the_agent_does_not_come_back(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "ROUTE_LINK_WAIT_S", 0.1)
    service = Breaking()
    async with watched_link(router, "A", service) as link:
        service.link = link
        agent = await connected(router, "A")
        await listed(agent)
        with pytest.raises(LinkClosedError):
            await router.directory.create(agent, "job")


class OfAnOlderRelease:
    """An agent of ours without a watch."""

    def __init__(self, *jobs: str) -> None:
        self.jobs = [*jobs]

    @unary
    def job_list(self, call: IncomingCall, after: str | None = None, limit: int = 1000) -> Any:
        return [{"uid": uid} for uid in self.jobs if after is None or uid > after][:2]

    @unary
    def job_info(self, call: IncomingCall, job_uid: str) -> Any:
        if job_uid not in self.jobs:
            raise JobNotFoundError(job_uid)
        return {"uid": job_uid, "state": "FINISHED"}


async def test_an_agent_of_an_older_release_is_asked_for_its_jobs(router: Router) -> None:
    service = OfAnOlderRelease("1", "2", "3")
    async with watched_link(router, "A", service):
        await known(router, "3", "NEW")
        service.jobs.append("4")  # by another router
        assert (await info(router, "-", "4")).status == 200
        assert (await info(router, "-", "5")).status == 404
        await known(router, "4", "FINISHED")


async def created(router: Router, service: Creating, **arguments: Any) -> dict[str, Any]:
    async with connect(f"127.0.0.1:{router.server_port}", token=TOKEN, uid="A", service=service):
        agent = await connected(router, "A")
        info = await router.directory.create(agent, "job", **arguments)
        facts = router.directory.facts(info["uid"])
        assert facts is not None
        assert (facts.agent_uid, facts.labels) == ("A", arguments["labels"])
    return info


async def test_a_job_is_created_with_labels_uid_linger_and_idle_time(router: Router) -> None:
    agent = Creating("uid", "labels", "idle_after")
    arguments = {"uid": "2" * 32, "labels": {"pagent/owner": "x"}, "linger": 5.0, "idle_after": 60.0}
    assert (await created(router, agent, **arguments))["uid"] == "2" * 32
    assert agent.given == [arguments]


async def test_an_agent_of_an_older_release_creates_a_job_whose_labels_the_router_keeps(router: Router) -> None:
    agent = Creating()
    await created(router, agent, uid="2" * 32, labels={"pagent/owner": "x"}, idle_after=60.0)
    assert agent.given == [{"linger": 3600.0}]


async def test_an_agent_of_the_field_creates_a_job_whose_labels_the_router_keeps(router: Router) -> None:
    async with field_agent("F", router.server_port, TOKEN):
        agent = await connected(router, "F")
        info = await router.directory.create(agent, "job", uid="2" * 32, labels={"a": "b"}, linger=5.0, idle_after=6.0)
        assert router.directory.facts(info["uid"]) == JobFacts(info["uid"], "F", {"a": "b"})
    await disconnected(router)
    assert router.directory.facts(info["uid"]) is None


# --- the choice of an agent -------------------------------------------------------------------------


async def test_the_agent_with_the_fewest_jobs_is_selected(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path, "A") as a, dialling_agent(router, tmp_path, "B") as b:
        await create(router, type="uid", uid="A")
        for _ in range(3):
            await create(router, type="select", uids=["A", "B", "not connected"])
        assert (len(list(a.jobs.jobs())), len(list(b.jobs.jobs()))) == (2, 2)


async def test_agents_chosen_at_the_same_time_get_the_same_number_of_jobs(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path, "A") as a, dialling_agent(router, tmp_path, "B") as b:
        await asyncio.gather(*(create(router, type="select", uids=["A", "B"]) for _ in range(10)))
        assert (len(list(a.jobs.jobs())), len(list(b.jobs.jobs()))) == (5, 5)


async def test_none_of_the_agents_to_select_is_connected(router: Router) -> None:
    answer = await create(router, type="select", uids=["A", "B"])
    assert (answer.status, answer.text) == (404, "no connected agent with uid 'A' or 'B'")


# --- agents that are dialled ------------------------------------------------------------------------


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[Agent]:
    """An agent that listens, and that no router has a link to."""
    async with running_agent(settings) as running:
        yield running


@pytest.fixture
async def polling() -> AsyncIterator[Router]:
    async with running_router(router_settings(client=RouterClient(polling_delay=0.1))) as router:
        yield router


async def test_an_agent_that_was_dialled_is_let_go_when_it_has_no_jobs(polling: Router, agent: Agent) -> None:
    address = {"type": "address", "address": f"127.0.0.1:{agent.rpc_port}", "token": TOKEN}
    first = (await create(polling, **address)).json
    second = (await create(polling, **address)).json
    (link,) = polling.directory.table  # one link for both
    assert link.mode == "CLIENT"
    for job in (first, second):
        await asyncio.sleep(0.3)  # polls do not close it
        assert link.is_open
        assert (await ask(polling.control_port, "POST", f"{job['path']}/remove")).status == 200
    await disconnected(polling)
    again = await create(polling, **address)
    assert again.status == 200


async def test_an_agent_that_was_dialled_and_is_watched_is_not_asked_for_jobs(polling: Router, agent: Agent) -> None:
    address = {"type": "address", "address": f"127.0.0.1:{agent.rpc_port}", "token": TOKEN}
    job = (await create(polling, **address)).json
    (link,) = polling.directory.table
    await listed(link)
    before = next_call(link)
    await asyncio.sleep(0.3)  # three times the polling delay
    assert next_call(link) == before + 1
    assert (await ask(polling.control_port, "POST", f"{job['path']}/remove")).status == 200
    await disconnected(polling)


def next_call(link: ConnectedAgent) -> int:
    """Make a call; return its id, which counts the calls of the link."""
    return link.start_call(messages.UNARY, "job_count_current_connection", [], {}).call_id


async def test_an_agent_with_a_call_under_way_is_not_let_go(polling: Router, agent: Agent) -> None:
    address = {"type": "address", "address": f"127.0.0.1:{agent.rpc_port}", "token": TOKEN}
    job = (await create(polling, **address)).json
    start = {"args": [sys.executable, "-c", SLEEP], "env": {}, "port_expected_count": 0}
    assert (await ask(polling.control_port, "POST", f"{job['path']}/start", start)).status == 200
    waiting = asyncio.create_task(ask(polling.control_port, "POST", f"{job['path']}/wait"))
    await asyncio.sleep(0.3)
    assert len(polling.directory.table) == 1
    assert (await ask(polling.control_port, "POST", f"{job['path']}/remove")).status == 200
    assert (await waiting).status in (200, 404)
    await disconnected(polling)


async def test_an_agent_that_was_dialled_is_dialled_again_for_its_jobs(polling: Router, agent: Agent) -> None:
    address = {"type": "address", "address": f"127.0.0.1:{agent.rpc_port}", "token": TOKEN}
    job = (await create(polling, **address)).json
    (link,) = polling.directory.table
    link.connection.link.abort("the test breaks it")
    again = await connected(polling, agent.uid, other_than=link)
    found = await info(polling, job["path"].split("/")[2], job["uid"])
    assert (found.status, found.json["path"]) == (200, f"/jobs/{again.connection_id}/{job['uid']}")
    assert (await ask(polling.control_port, "POST", f"{found.json['path']}/remove")).status == 200
    await disconnected(polling)


async def test_an_address_that_is_none(router: Router) -> None:
    answer = await create(router, type="address", address="no port", token="t")
    assert answer.status == 400


async def test_an_agent_that_does_not_answer_is_504(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_dial, "HANDSHAKE_TIMEOUT_S", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await create(router, type="address", address=f"127.0.0.1:{port}", token="t")
    assert answer.status == 504


async def test_an_address_that_callers_may_not_have_dialled(agent: Agent) -> None:
    async with running_router(router_settings(dial=DialSettings(allow=("10.0.0.0/8",)))) as router:
        answer = await create(router, type="address", address=f"127.0.0.1:{agent.rpc_port}", token=TOKEN)
        assert answer.status == 403
        assert "dial.allow" in answer.text


async def test_a_link_that_ends_during_a_call_is_502(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json
        start = {"args": [sys.executable, "-c", SLEEP], "env": {}, "port_expected_count": 1}
        starting = asyncio.create_task(ask(router.control_port, "POST", f"{job['path']}/start", start))
        (link,) = router.directory.table
        async with asyncio.timeout(PATIENCE_S):
            while not link.has_calls:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        link.connection.link.abort("the test breaks it")
        assert (await starting).status == 502


# --- starts that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"args": ["/no/such/program"]}, 400),
        ({"args": []}, 400),
        ({"args": ["/"]}, 400),
        ({"args": [sys.executable], "cwd": "no/such/folder"}, 400),
        ({"args": [sys.executable], "cwd": "/"}, 400),
        ({"args": [sys.executable], "cwd": "../.."}, 400),
        ({"args": ["a\0b"]}, 400),
        ({"args": ["x"], "env": {"a=b": "c"}}, 400),
        ({"args": [sys.executable], "port_expected_count": -1}, 502),
        ({"args": [sys.executable, "-c", "raise SystemExit(3)"]}, 502),
    ],
)
async def test_a_start_that_fails(payload: dict[str, Any], status: int, router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json["path"]
        answer = await ask(router.control_port, "POST", f"{job}/start", {"env": {}, **payload})
        assert answer.status == status, answer
        assert answer["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_second_start_and_one_after_the_end_are_409(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json["path"]
        payload = {"args": [sys.executable, "-c", "input()"], "env": {}, "port_expected_count": 0}
        assert (await ask(router.control_port, "POST", f"{job}/start", payload)).status == 200
        assert (await ask(router.control_port, "POST", f"{job}/start", payload)).status == 409
        assert (await ask(router.control_port, "POST", f"{job}/wait")).json["state"] == "FINISHED"
        assert (await ask(router.control_port, "POST", f"{job}/start", payload)).status == 409


async def test_traffic_waits_until_a_start_is_over(router: Router, tmp_path: Path) -> None:
    go = tmp_path / "go"
    program = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{JOB}"
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json["path"]
        payload = {"args": [sys.executable, "-c", program], "env": {}}
        starting = asyncio.create_task(ask(router.control_port, "POST", f"{job}/start", payload))
        async with asyncio.timeout(PATIENCE_S):
            while (await ask(router.control_port, "GET", f"{job}/info")).json["state"] != "PENDING":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        asking = asyncio.create_task(ask(router.control_port, "GET", f"{job}/http/page"))
        await asyncio.sleep(0.3)
        assert not asking.done()
        go.touch()
        assert (await asking).text == "GET /page\n"
        assert (await starting).status == 200


async def test_a_client_that_is_gone_waits_for_no_job(router: Router, tmp_path: Path) -> None:
    async with dialling_agent(router, tmp_path):
        job = (await create(router, type="uid", uid="A")).json["path"]
        payload = {"args": [sys.executable, "-c", SLEEP], "env": {}, "port_expected_count": 0}
        assert (await ask(router.control_port, "POST", f"{job}/start", payload)).status == 200
        (link,) = router.directory.table
        _, writer = await asyncio.open_connection("127.0.0.1", router.control_port)
        writer.write(f"POST {job}/wait HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            while not link.has_calls:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
            writer.close()
            await link.calls_ended()
        assert (await info(router, "-", job.split("/")[3])).json["state"] == "RUNNING"


async def test_a_lookup_waits_for_the_next_link_if_the_link_is_lost_while_jobs_are_listed(router: Router) -> None:
    service = Watched("j")
    service.listing.clear()
    async with watched_link(router, "A", service) as first:
        agent = await connected(router, "A")
        await service.begun.wait()
        looking = asyncio.create_task(router.directory.locate(JobAddress(agent.connection_id, "j")))
        await asyncio.sleep(0)
        await first.close()
        await disconnected(router)
    service.listing.set()
    async with watched_agent(router, "A", service) as second:
        assert await looking is second
