"""``job_list`` of jobs that exist and of those that have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.limits import JOBS_LISTED
from tests.jobs.conftest import owner
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import CallFailed, Peer


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"], instance="one", uid="ours") as dialled:
        yield dialled


async def shell(peer: Peer, script: str, **options: Any) -> str:
    job = str((await peer.call("job_create", script[:20]))["uid"])
    await peer.call("job_start", job, ["sh", "-c", script], None, port_expected_count=0, **options)
    return job


async def test_jobs_that_have_ended(ours: Peer) -> None:
    fresh = (await ours.call("job_create"))["uid"]
    runs = await shell(ours, "exec sleep 1000")
    finished = await shell(ours, "echo no such file >&2; exit 2")
    await ours.call("job_wait", finished)
    removed = await shell(ours, "echo gone >&2")
    await ours.call("job_wait", removed)
    await ours.call("job_remove", removed)
    ended = await ours.call("job_list", ended=True)
    assert [info["uid"] for info in ended] == [finished, removed]
    assert [(info["state"], info["exit_code"], info["stderr"]) for info in ended] == [
        ("FINISHED", 2, b"no such file\n"),
        ("CLOSED", 0, b"gone\n"),
    ]
    assert [info["removed_by"] for info in ended] == [None, {"direction": "SERVER", "uid": "ours", "name": "a router"}]
    assert [info["uid"] for info in await ours.call("job_list")] == [fresh, runs, finished]
    assert [info["uid"] for info in await ours.call("job_list", finished, ended=True)] == [removed]
    assert await ours.call("job_list", removed, ended=True) == []
    assert [info["uid"] for info in await ours.call("job_list", limit=1, ended=True)] == [finished]
    for arguments in ((runs,), ("unknown",)):
        with pytest.raises(CallFailed) as caught:
            await ours.call("job_list", *arguments, ended=True)
        assert caught.value.cause == "JobNotFoundError"


async def test_ended_jobs_are_of_the_realm(ours: Peer, agent: Agent) -> None:
    agent.jobs.begin_removal(agent.jobs.create(owner("c2", "another realm")))
    assert await ours.call("job_list", ended=True) == []


async def test_a_job_that_ends_with_its_link(ours: Peer, agent: Agent) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as field:
        job = await shell(field, "exec sleep 1000")
    while not (ended := await ours.call("job_list", ended=True)):
        pass
    assert (ended[0]["uid"], ended[0]["signal"], ended[0]["removed_by"]) == (job, "SIGTERM", None)


@pytest.mark.parametrize(
    "arguments", [{"ended": 1}, {"ended": None}, {"limit": 0}, {"limit": True}, {"after": 1}, {"after": b"x"}]
)
async def test_a_wrong_argument(ours: Peer, arguments: dict[str, Any]) -> None:
    with pytest.raises(CallFailed, match=r"ended|limit|after"):
        await ours.call("job_list", **arguments)


@pytest.mark.slow
async def test_ten_thousand_jobs(ours: Peer, agent: Agent) -> None:
    mine = owner("c2", ("token", TOKEN))
    uids = [agent.jobs.create(mine).uid for _ in range(10_000)]
    found: list[str] = []
    while page := await ours.call("job_list", found[-1] if found else None):
        assert len(page) <= JOBS_LISTED
        found += [info["uid"] for info in page]
    assert found == uids
    call = await ours.start(peers.ISTREAM, "agent_watch")
    await ours.send([10, call, 1 << 30])
    watched: list[str] = []
    while "ready" not in (message := (await ours.next_of(call))[2]):
        watched += [info["uid"] for info in message.get("jobs", [])]
    assert watched == uids


async def test_the_standard_input(ours: Peer) -> None:
    for data in (b"", b"hello\n", bytes(range(256)) * 256):
        job = await shell(ours, "cat; echo the end", stdin=data)
        call = await ours.start(peers.ISTREAM, "job_logs", job, follow=True)
        await ours.send([10, call, 1 << 20])
        values, _ = await ours.outcome(call)
        assert b"".join(values) == data + b"the end\n"


@pytest.mark.parametrize(("stdin", "cause"), [("text", "TypeError"), (1, "TypeError"), (bytes(65_537), "ValueError")])
async def test_a_wrong_input_leaves_the_job_as_it_is(ours: Peer, stdin: Any, cause: str) -> None:
    job = (await ours.call("job_create"))["uid"]
    with pytest.raises(CallFailed, match="stdin") as caught:
        await ours.call("job_start", job, ["cat"], None, port_expected_count=0, stdin=stdin)
    assert caught.value.cause == cause
    await ours.call("job_start", job, ["cat"], None, port_expected_count=0, stdin=b"x")


async def test_input_that_the_job_does_not_read(ours: Peer) -> None:
    job = await shell(ours, "exit 0", stdin=bytes(65_536))
    assert (await ours.call("job_wait", job))["exit_code"] == 0


async def test_a_most_of_jobs(settings: Settings) -> None:
    async with (
        running_agent(replace(settings, jobs=replace(settings.jobs, max=2))) as agent,
        peers.dial(agent.rpc_port, TOKEN) as field,
    ):
        jobs = [(await field.call("job_create"))["uid"] for _ in range(2)]
        with pytest.raises(CallFailed, match="as many as") as caught:
            await field.call("job_create")
        assert caught.value.cause == "JobInvalidStateError"
        assert (await field.call("job_create", uid=jobs[0]))["uid"] == jobs[0]
        assert (await field.call("host_info"))["jobs_max"] == 2
        await field.call("job_remove", jobs[0])
        await field.call("job_create")
