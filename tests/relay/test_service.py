"""A client with a link to a router uses it as it uses an agent."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.client import AgentClient, connect_agent
from pagent.client.job import RemoteJob
from pagent.config.router import Access, RouterControl
from pagent.errors import DialError, MethodError, MethodNotFoundError
from pagent.relay import clients, elsewhere
from pagent.relay.service import RelayService
from pagent.router import Router
from pagent.wire import messages
from tests.kit import peer as peers
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import connected, router_settings, running_router
from tests.kit.transfers import eventually
from tests.service.proxy_job import SERVER


def uids(agent: Agent) -> set[str]:
    return {job.uid for job in agent.jobs.jobs()}


async def server(client: AgentClient) -> RemoteJob:
    job = await client.create_job("server")
    await job.start([sys.executable, "-c", SERVER, "{port}"], port="auto", ready="connect")
    return job


async def test_calls_of_all_types_are_relayed(client: AgentClient, tmp_path: Path) -> None:
    job = await server(client)
    assert (await job.info())["state"] == "RUNNING"
    local = tmp_path.parent / f"{tmp_path.name}-file"
    local.write_bytes(bytes(range(256)) * 4096)
    await job.upload(local, "folder/file")
    back = local.with_name("back")
    await job.download("folder/file", back)
    assert back.read_bytes() == local.read_bytes()
    local.unlink()
    back.unlink()
    status, _, body = await job.http("POST", "/echo", body=b"x" * 1_000_000)
    assert (status, len(body) >= 1_000_000) == (200, True)
    async with job.exec([sys.executable, "-c", "print(input())"]) as process:
        await process.write(b"hello\n")
        await process.end_input()
        assert b"".join([data async for data in process]) == b"hello\n"
        assert await process.wait() == 0
    assert [each.uid for each in await client.jobs()] == [job.uid]
    assert await client.count_jobs() == 1
    await job.remove()
    assert await client.count_jobs() == 0


async def test_errors_of_the_agent_pass_with_their_cause(client: AgentClient) -> None:
    job = await client.create_job()
    with pytest.raises(MethodError) as missing:
        await job.start(["/no/such/program"])
    assert missing.value.cause_type == "FileNotFoundError"
    with pytest.raises(MethodError) as wrong:
        await client.link.call("job_start", job.uid, no_such_argument=1)
    assert wrong.value.cause_type == "TypeError"
    for uid in ("0" * 32, 5, None):
        with pytest.raises(MethodError) as unknown:
            await client.link.call("job_info", uid)
        assert unknown.value.cause_type == "JobNotFoundError"
    with pytest.raises(MethodNotFoundError):
        await client.link.call("no_such_method")


async def test_an_error_of_a_stream_passes_with_its_cause(client: AgentClient) -> None:
    job = await client.create_job()
    async with client.link.open_stream(messages.ISTREAM, "file_download", job.uid, "none") as stream:
        assert await stream.receive() is None
        with pytest.raises(MethodError) as missing:
            await stream.result()
    assert missing.value.cause_type == "FileNotFoundError"


async def test_a_client_that_stops_reading_stops_the_job(client: AgentClient) -> None:
    job = await server(client)
    arguments = (job.uid, "GET", "/endless", [], [])
    async with client.link.open_stream(messages.BISTREAM, "http_request", *arguments) as stream:
        await stream.send(b"")
        assert await stream.receive() == 200
        before = -1
        async with asyncio.timeout(PATIENCE_S):
            while (sent := (await job.http("GET", "/state"))[2]) != before:
                before = sent
                await asyncio.sleep(0.2)
        assert b'"sent"' in sent
        assert int(sent.split(b'"sent": ')[1].split(b",")[0].rstrip(b"}")) < 32 * 1024 * 1024


async def test_a_call_that_is_given_up_is_given_up_at_the_agent(router: Router, client: AgentClient) -> None:
    job = await server(client)
    link = await connected(router, "A")
    async with client.link.open_stream(messages.ISTREAM, "job_logs", job.uid, follow=True):
        async with asyncio.timeout(PATIENCE_S):
            while not link.has_calls:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        await link.calls_ended()


async def test_the_link_of_the_agent_is_lost_during_a_call(router: Router, client: AgentClient) -> None:
    job = await server(client)
    link = await connected(router, "A")
    async with client.link.open_stream(messages.ISTREAM, "job_logs", job.uid, follow=True) as stream:
        async with asyncio.timeout(PATIENCE_S):
            while not link.has_calls:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        link.connection.link.abort("the test breaks it")
        with pytest.raises(MethodError, match="the router has lost its link to the agent: the test breaks it") as lost:
            await stream.result()
    assert lost.value.cause_type == "LinkClosedError"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs end soon after their client. Tests name this fixture before the router's."""
    monkeypatch.setattr(clients, "LINGER_LEAST_S", 0.1)
    monkeypatch.setattr(elsewhere, "ANSWER_S", 0.05)


async def test_jobs_of_a_client_that_is_gone_are_removed_after_a_while(
    soon: None, router: Router, agent: Agent
) -> None:
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client:
        await client.create_job()
        assert len(list(agent.jobs.jobs())) == 1
    async with asyncio.timeout(PATIENCE_S):
        while list(agent.jobs.jobs()):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def test_a_job_ends_with_the_client_that_has_adopted_it(soon: None, router: Router, agent: Agent) -> None:
    address = f"127.0.0.1:{router.control_port}"
    async with connect_agent(address, token="any") as second:
        async with connect_agent(address, token="any") as first:
            kept, lost = await first.create_job("kept"), await first.create_job("lost")
            assert (await first.count_jobs(), await second.count_jobs()) == (2, 0)
            await second.adopt_job(kept.uid)
            assert (await first.count_jobs(), await second.count_jobs()) == (1, 1)
        await eventually(lambda: lost.uid not in uids(agent))
        assert uids(agent) == {kept.uid}
    await eventually(lambda: not uids(agent))


async def test_a_job_outlives_its_client_by_the_linger_that_it_asked_for(
    soon: None, router: Router, agent: Agent
) -> None:
    address = f"127.0.0.1:{router.control_port}"
    async with connect_agent(address, token="any") as client:
        lingers, ends = await client.create_job(linger=600.0), await client.create_job()
    await eventually(lambda: ends.uid not in uids(agent))
    assert uids(agent) == {lingers.uid}
    async with connect_agent(address, token="any") as other:
        assert (await other.adopt_job(lingers.uid)).uid == lingers.uid


async def test_a_client_that_returns_keeps_its_jobs(soon: None, router: Router, agent: Agent) -> None:
    options: dict[str, Any] = {"instance": "i", "uid": "returns", "extensions": ["flow"]}
    async with peers.dial(router.control_port, "any", **options) as first:
        job = (await first.call("job_create"))["uid"]
        async with peers.dial(router.control_port, "any", **options) as second:
            await first.close()
            assert await second.call("job_count_current_connection") == 1
            async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as other:
                ends = (await other.create_job()).uid
            await eventually(lambda: ends not in uids(agent))
            assert uids(agent) == {job}
    await eventually(lambda: not uids(agent))


@pytest.mark.parametrize(
    "arguments",
    [
        {"linger": -1},
        {"linger": float("nan")},
        {"linger": True},
        {"labels": ["a"]},
        {"labels": {"pagent/owner": "x"}},
        {"uid": 5},
    ],
)
async def test_arguments_of_a_creation_that_are_not_valid(client: AgentClient, arguments: dict[str, Any]) -> None:
    with pytest.raises(MethodError) as refused:
        await client.link.call("job_create", "name", **arguments)
    assert refused.value.cause_type == "ValueError"


async def test_no_agent_is_connected(router: Router) -> None:
    async with connect_agent(f"127.0.0.1:{router.control_port}", token="any") as client:
        with pytest.raises(MethodError, match="no agent is connected to the router"):
            await client.create_job()


async def test_arguments_with_any_name_reach_the_agent(client: AgentClient) -> None:
    """Among them those that the functions of the router have themselves."""
    job = await client.create_job()
    start = client.link.start_call(
        messages.UNARY, "job_start", [job.uid, ["sleep", "60"], {}], {"timeout": 0.1, "port_expected_count": 0}
    )
    await start.result
    assert (await job.wait())["signal"] == "SIGTERM"
    for name in ("call", "name", "method", "self"):
        wrong = client.link.start_call(messages.UNARY, "job_info", [job.uid], {name: 1})
        with pytest.raises(MethodError, match=f"argument '{name}'"):
            await wrong.result


async def test_a_watch_has_the_jobs_of_all_agents_and_their_removals(client: AgentClient) -> None:
    job = await client.create_job("first")
    async with aclosing(client.watch()) as watch:
        assert (await anext(watch))["host"]["agents"] == 1
        assert [info["uid"] for info in (await anext(watch))["jobs"]] == [job.uid]
        assert await anext(watch) == {"ready": True}
        unseen = await client.create_job("unseen")
        assert (await anext(watch))["job"]["uid"] == unseen.uid
        await job.remove()
        async for message in watch:
            if "removed" in message:
                assert message == {"removed": job.uid}
                break


async def test_a_router_that_listens_beyond_the_loopback_takes_no_clients_unless_configured() -> None:
    for is_open in (False, True):
        settings = router_settings(control=RouterControl(interface=None), access=Access(open=is_open))
        async with running_router(settings) as router:
            link = connect_agent(f"127.0.0.1:{router.control_port}", token="any")
            if is_open:
                async with link:
                    pass
            else:
                with pytest.raises(DialError):
                    await link.__aenter__()


async def test_every_method_of_an_agent_is_relayed_except_those_of_routers(router: Router, agent: Agent) -> None:
    methods = RelayService(router.directory, router.gate, router.pools, router.figures).methods()
    assert agent.methods.keys() - methods.keys() == {"job_note", "host_credential"}
    assert {name: methods[name].call_type for name in methods if name in agent.methods} == {
        name: method.call_type for name, method in agent.methods.items() if name in methods
    }
