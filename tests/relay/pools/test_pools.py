"""Pools with real processes: the command of a pool starts an agent, which comes to the router and gets the job."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pagent.config.model import Settings
from pagent.config.router import Access, PoolHost
from pagent.errors import RequestRefusedError
from pagent.router import Router
from tests.kit.pools import (
    HOST,
    JOIN,
    agents_of_pools,
    command_jobs,
    has_arrived,
    job,
    keys_in,
    message_of,
    pool_of,
    requests,
    running_host,
    running_pools,
    states,
)
from tests.kit.routers import ask, connected, router_settings, running_router
from tests.kit.transfers import eventually


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return keys_in(tmp_path)


async def test_a_job_of_a_pool_serves_and_all_ends_with_it(settings: Settings, keys: Path) -> None:
    async with running_pools(settings, keys, p=pool_of(*JOIN)) as (router, host):
        wanted = job()
        record = await router.pools.request("p", {}, wanted)
        assert (record.state, record.uid) == ("QUEUED", wanted.uid)
        assert states(router.pools) == ["requested"]
        waiting = await ask(router.control_port, "GET", f"/jobs/-/{wanted.uid}/http/")
        assert (waiting.status, waiting["Retry-After"]) == (503, "5")
        await eventually(lambda: has_arrived(router, wanted.uid))
        answer = await ask(router.control_port, "GET", f"/jobs/-/{wanted.uid}/http/x")
        assert (answer.status, answer.text.splitlines()[0]) == (200, "GET /x HTTP/1.1")
        (request,) = requests(router.pools)
        assert request.state == "connected"
        agent = router.directory.table.agent(request.agent_uid)
        assert agent is not None
        assert agent.describe()["properties"] == {"pool": "p"}

        await agent.call("host_end", 1.0)
        await eventually(lambda: states(router.pools) == ["ended"])
        assert await router.pools.cancel(wanted.uid)  # it was lost with its agent
        await eventually(lambda: command_jobs(router) == [] and not host.jobs.jobs())


async def test_a_job_that_had_ended_before_its_agent_keeps_its_exit_code(settings: Settings, keys: Path) -> None:
    async with running_pools(settings, keys, p=pool_of(*JOIN)) as (router, _):
        wanted = job(start={"args": ["sh", "-c", "exit 3"], "env": {}, "port_expected_count": 0})
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        await eventually(lambda: router.directory.jobs.get(wanted.uid).state == "FINISHED")  # type: ignore[union-attr]
        for agent in agents_of_pools():
            agent.terminate()
        await eventually(lambda: states(router.pools) == ["ended"])
        answer = await ask(router.control_port, "GET", f"/v1/jobs/{wanted.uid}")
        assert (answer.json["state"], answer.json["exit_code"]) == ("FINISHED", 3)
        assert answer.json["error"].startswith("its agent has ended")


async def test_an_idle_agent_is_used_first(settings: Settings, keys: Path) -> None:
    async with running_pools(settings, keys, p=pool_of(*JOIN, max=1)) as (router, _):
        first, second = job(), job()
        await router.pools.request("p", {}, first)
        await eventually(lambda: has_arrived(router, first.uid))
        await router.pools.request("p", {}, second)
        assert states(router.pools)[1] == "requested"
        await router.directory.remove(first.uid)
        await eventually(lambda: has_arrived(router, second.uid))
        await eventually(lambda: states(router.pools) == ["connected", "ended"])
        assert requests(router.pools)[0].agent_uid == router.directory.jobs.get(second.uid).agent_uid  # type: ignore[union-attr]


async def test_a_command_that_ends_is_a_failure_with_its_output(settings: Settings, keys: Path) -> None:
    script = "cat >/dev/null; echo queued and waiting; echo no such partition >&2; exit 1"
    async with running_pools(settings, keys, p=pool_of("sh", "-c", script)) as (router, _):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: states(router.pools) == ["ended"])
        record = router.directory.jobs.get(wanted.uid)
        assert record is not None
        assert record.state == "FINISHED"
        (view,) = requests(router.pools)
        assert view.error == view.message == record.info()["error"]
        assert view.message.startswith("the command has ended before its agent came: ")
        assert {"queued and waiting", "no such partition"} <= set(view.message.partition(": ")[2].splitlines())
        assert len(command_jobs(router)) == 1  # it keeps the reason
        assert await router.pools.cancel(wanted.uid)
        await eventually(lambda: command_jobs(router) == [])


async def test_a_program_that_is_missing(settings: Settings, keys: Path) -> None:
    async with running_pools(settings, keys, p=pool_of("no-such-program")) as (router, _):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: states(router.pools) == ["ended"])
        assert "the command cannot be started" in requests(router.pools)[0].message


async def test_cancelled_while_queued(settings: Settings, keys: Path) -> None:
    script = "cat >/dev/null; echo job 7 queued; exec sleep 600"
    async with running_pools(settings, keys, p=pool_of("sh", "-c", script)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: requests(router.pools)[0].message == "job 7 queued")
        assert states(router.pools) == ["queued"]
        assert await router.pools.cancel(wanted.uid)
        await eventually(lambda: states(router.pools) == ["ended"])
        assert not host.jobs.jobs()
        assert not await router.pools.cancel("0" * 32)


async def test_the_time_in_the_queue_is_limited(settings: Settings, keys: Path, tmp_path: Path) -> None:
    """The cleanup command gets the id of the request."""
    cleaned = tmp_path / "cleaned"
    cleanup = ("sh", "-c", f"echo {{rid}} > {cleaned}")
    pool = pool_of("sleep", "600", queue_s=1.0, cleanup=cleanup)
    async with running_pools(settings, keys, p=pool) as (router, _):
        await router.pools.request("p", {}, job())
        await eventually(lambda: states(router.pools) == ["ended"])
        (view,) = requests(router.pools)
        assert requests(router.pools)[0].message.startswith("no agent within 1 s")
        assert cleaned.read_text() == f"{view.rid}\n"


async def test_a_restarted_router_resumes_requests(settings: Settings, keys: Path, tmp_path: Path) -> None:
    """The command waits for a file, so that the first router ends while it runs."""
    go = tmp_path / "go"
    script = f"echo waiting; while ! [ -e {go} ]; do sleep 0.05; done; exec {' '.join(JOIN)}"
    pool = pool_of("sh", "-c", script, "sh", "--{cpus}")
    wanted = job()
    async with running_router(router_settings(access=Access(keys_file=keys), pools={"p": pool})) as router:
        port = router.server_port
        async with running_host(settings, port) as host:
            await connected(router, HOST)
            await router.pools.request("p", {"cpus": "4"}, wanted)
            await eventually(lambda: requests(router.pools)[0].message == "waiting")
            router.end(0)
            await router.stop()
            base = router_settings(access=Access(keys_file=keys), pools={"p": pool})
            async with running_router(replace(base, server=replace(base.server, port=port))) as second:
                await eventually(lambda: second.directory.jobs.get(wanted.uid) is not None)
                await eventually(lambda: requests(second.pools)[0].message == "waiting")
                assert requests(second.pools)[0].parameters == {"cpus": "4"}
                go.touch()
                await eventually(lambda: has_arrived(second, wanted.uid))
                assert len(host.jobs.jobs()) == 1


async def test_required_parameters_of_a_request(settings: Settings, keys: Path) -> None:
    pool = pool_of("sleep", "{cpus}")
    async with running_pools(settings, keys, p=pool, q=pool_of("x", on=PoolHost(uid="none"))) as (router, _):
        for name, given, status in (
            ("none", {}, 404),
            ("p", {}, 400),
            ("p", {"cpus": "1", "rid": "2"}, 400),
            ("p", {"cpus": "1 2"}, 400),
            ("p", {"cpus": 1}, 400),
            ("q", {}, 503),
        ):
            with pytest.raises(RequestRefusedError) as caught:
                await router.pools.request(name, given, job())
            assert caught.value.status == status
        assert requests(router.pools) == ()


async def test_the_join_token_is_nowhere_to_be_read(settings: Settings, keys: Path, tmp_path: Path) -> None:
    """The test alone keeps it, by a command that copies its standard input."""
    script = f"tee {tmp_path / 'given'} | {' '.join(JOIN)}"
    async with running_pools(settings, keys, p=pool_of("sh", "-c", script)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: has_arrived(router, wanted.uid))
        token = json.loads((tmp_path / "given").read_text())["token"]
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it ends meanwhile
                assert token not in " ".join(process.cmdline()) + str(process.environ())
        for record in router.directory.jobs.from_age(None):
            assert token not in str(record.info()) + str(record.notes)
        for each in host.jobs.jobs():
            files = [file for file in each.sandbox.path.rglob("*") if file.is_file()]
            assert not [file for file in files if token.encode() in file.read_bytes()]


async def test_a_job_that_ends_with_its_agent_says_why(settings: Settings, keys: Path) -> None:
    """The command has the last word. The job is known until its client has read that, and removes it."""
    script = f"{' '.join(JOIN)}; echo the time limit is reached"
    async with running_pools(settings, keys, p=pool_of("sh", "-c", script)) as (router, host):
        wanted = job()
        await router.pools.request("p", {}, wanted)
        await eventually(lambda: _state(router, wanted.uid) == "RUNNING")
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it ends meanwhile
                if process.cmdline()[1:] == [*JOIN[1:]]:
                    process.terminate()
        await eventually(lambda: states(router.pools) == ["ended"])
        assert _state(router, wanted.uid) == "FINISHED"
        assert message_of(router, wanted.uid).startswith("its agent has ended: ")
        assert "the time limit is reached" in message_of(router, wanted.uid)
        assert await router.pools.cancel(wanted.uid)
        assert _state(router, wanted.uid) is None
        await eventually(lambda: not host.jobs.jobs())


def _state(router: Router, uid: str) -> str | None:
    record = router.directory.jobs.get(uid)
    return None if record is None else record.state
