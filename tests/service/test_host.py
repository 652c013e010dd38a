"""``host_info``, ``host_cordon`` and ``agent_watch``, as a peer of pAgent calls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent import __version__
from pagent.agent import Agent
from pagent.client.link import connect
from pagent.limits import JOB_NAME_MAX, LABEL_VALUE_MAX, LABELS_MAX, PORTS_PER_JOB, ROUTER_LABELS_MAX
from pagent.wire import messages
from tests.jobs.conftest import owner
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, CallFailed, Peer

UID = "0123456789abcdef" * 2


@pytest.fixture
async def ours(agent: Agent) -> AsyncIterator[Peer]:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"], instance="one", uid="ours") as dialled:
        yield dialled


class Watch:
    """A call of ``agent_watch``. ``seen``: the infos of jobs by its messages, as a router keeps them."""

    def __init__(self, peer: Peer, call: int) -> None:
        self.peer = peer
        self.call = call
        self.seen: dict[str, dict[str, Any]] = {}

    @classmethod
    async def start(cls, peer: Peer, **options: Any) -> Watch:
        watch = cls(peer, await peer.start(peers.ISTREAM, "agent_watch", **options))
        await peer.send([10, watch.call, 1 << 30])
        return watch

    async def next(self) -> dict[str, Any]:
        message = await self.peer.next_of(self.call)
        assert message[0] == 8, message
        value: dict[str, Any] = message[2]
        assert len(value) == 1
        for info in value.get("jobs", [value["job"]] if "job" in value else []):
            self.seen[info["uid"]] = info
        if "removed" in value:
            del self.seen[value["removed"]]
        return value

    async def until(self, key: str) -> list[dict[str, Any]]:
        """The messages up to one with this key."""
        found = [await self.next()]
        while key not in found[-1]:
            found.append(await self.next())
        return found


async def test_the_figures(ours: Peer, peer: Peer) -> None:
    info = await ours.call("host_info")
    assert set(info) == {
        "cpus", "load", "memory_total", "memory_available", "disk_free", "jobs", "version", "started_at", "cordoned",
        "deadline", "disk_total", "jobs_max",
    }  # fmt: skip
    assert info["cpus"] > 0
    assert info["load"] >= 0
    assert 0 < info["memory_available"] < info["memory_total"]
    assert 0 < info["disk_free"] <= info["disk_total"]
    assert (info["jobs"], info["version"], info["cordoned"], info["deadline"]) == (0, __version__, False, None)
    await peer.call("job_create")
    assert (await ours.call("host_info"))["jobs"] == 1


async def test_a_cordon(ours: Peer, peer: Peer) -> None:
    job = (await ours.call("job_create", uid=UID))["uid"]
    watch = await Watch.start(ours)
    await watch.until("ready")
    assert (await ours.call("host_cordon", True))["cordoned"] is True
    assert (await watch.next())["host"]["cordoned"] is True
    with pytest.raises(CallFailed, match="cordoned") as caught:
        await ours.call("job_create")
    assert caught.value.cause == "JobInvalidStateError"
    assert (await ours.call("job_create", uid=UID))["uid"] == job
    await ours.call("job_start", job, ["true"], None, port_expected_count=0)
    await peer.call("job_create")  # a router of the field does not know of cordons
    assert (await ours.call("host_cordon", on=False))["cordoned"] is False
    await ours.call("job_create")
    with pytest.raises(CallFailed, match="must be a bool"):
        await ours.call("host_cordon", 1)


async def test_labels_are_in_the_info(ours: Peer) -> None:
    labels = {"app": "jupyter", "pagent/owner": "<script>alert(1)</script>\u202e\0\n"}
    info = await ours.call("job_create", labels=labels)
    assert info["labels"] == labels
    assert (await ours.call("job_info", info["uid"]))["labels"] == labels
    assert (await ours.call("job_create"))["labels"] == {}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"labels": {1: "a"}}, "TypeError"),
        ({"labels": {b"a": "a"}}, "TypeError"),
        ({"labels": {"a": 1}}, "TypeError"),
        ({"labels": {"A": "a"}}, "ValueError"),
        ({"labels": [["a", "b"]]}, "TypeError"),
        ({"uid": "x"}, "ValueError"),
        ({"uid": 1}, "TypeError"),
    ],
)
async def test_a_wrong_argument(ours: Peer, arguments: dict[str, Any], cause: str) -> None:
    with pytest.raises(CallFailed) as caught:
        await ours.call("job_create", **arguments)
    assert caught.value.cause == cause
    assert await ours.call("job_list") == []


async def test_the_order_of_a_watch(ours: Peer) -> None:
    jobs = [(await ours.call("job_create", str(number)))["uid"] for number in range(101)]
    watch = await Watch.start(ours)
    first = await watch.until("ready")
    assert [next(iter(message)) for message in first] == ["host", "jobs", "jobs", "ready"]
    assert [info["uid"] for message in first[1:3] for info in message["jobs"]] == jobs
    assert len(first[1]["jobs"]) == 100
    assert first[0]["host"]["jobs"] == 101


async def test_the_life_of_a_job_is_pushed(ours: Peer) -> None:
    watch = await Watch.start(ours)
    assert await watch.until("ready") == [{"host": await ours.call("host_info")}, {"ready": True}]
    job = (await ours.call("job_create", labels={"a": "b"}))["uid"]
    assert (await watch.next())["job"]["labels"] == {"a": "b"}
    await ours.call("job_start", job, ["sleep", "1000"], None, port="auto", port_expected_count=0)
    while watch.seen[job]["state"] != "RUNNING":
        await watch.next()
    assert len(watch.seen[job]["ports"]) == 1
    await ours.call("job_kill", job)
    while watch.seen[job]["state"] != "FINISHED":
        await watch.next()
    assert watch.seen[job]["signal"] == "SIGTERM"
    await ours.call("job_remove", job)
    while job in watch.seen:
        await watch.next()


async def test_a_new_owner_is_pushed(ours: Peer, agent: Agent) -> None:
    job = (await ours.call("job_create"))["uid"]
    watch = await Watch.start(ours)
    await watch.until("ready")
    async with peers.dial(agent.rpc_port, TOKEN, instance="two", uid="another") as another:
        await another.call("job_adopt", job)
        assert (await watch.next())["job"]["sender"]["uid"] == "another"
    assert await watch.next() == {"removed": job}


async def test_a_watch_is_bound_to_its_realm(ours: Peer, agent: Agent) -> None:
    agent.jobs.create(owner("c2", "another realm"))
    watch = await Watch.start(ours)
    assert [next(iter(message)) for message in await watch.until("ready")] == ["host", "ready"]
    agent.jobs.create(owner("c3", "another realm"))
    job = (await ours.call("job_create"))["uid"]
    assert (await watch.next())["job"]["uid"] == job


@pytest.mark.parametrize("interval", [0, -1, 0.05, 1e9, float("nan"), "1", None, True])
async def test_a_wrong_interval(ours: Peer, interval: Any) -> None:
    call = await ours.start(peers.ISTREAM, "agent_watch", interval)
    with pytest.raises(CallFailed, match="interval"):
        await ours.outcome(call)


async def test_the_host_is_sent_at_every_interval(ours: Peer) -> None:
    watch = await Watch.start(ours, interval=0.1)
    await watch.until("ready")
    assert [next(iter(await watch.next())) for _ in range(3)] == ["host"] * 3


async def test_a_watcher_that_stalls_gets_the_last_state_of_each_job(ours: Peer, agent: Agent) -> None:
    call = await ours.start(peers.ISTREAM, "agent_watch")
    lasting = (await ours.call("job_create", labels={"a": "x" * 200}))["uid"]
    job = agent.jobs.registry.find(lasting)
    assert job is not None
    for number in range(6000):  # an info takes 64 bytes of credit: the window has room for 4096
        agent.jobs.adopt(job, owner(f"c{number}", job.owner.realm))
        if number % 20 == 0:
            agent.jobs.begin_removal(agent.jobs.create(job.owner))
        await asyncio.sleep(0)
    await ours.send([10, call, 1 << 30])
    watch = Watch(ours, call)
    sent = len(await watch.until("ready"))
    async with peers.dial(agent.rpc_port, TOKEN, instance="two", uid="last") as last:
        await last.call("job_adopt", lasting)
        while watch.seen.get(lasting, {"sender": {}})["sender"].get("uid") != "last":
            await watch.next()
            sent += 1
    assert set(watch.seen) == {lasting}
    assert sent < 4096 + 400  # the window, and the removals of at most 300 jobs that were in it


async def test_a_job_that_is_removed_while_the_jobs_are_sent(ours: Peer, agent: Agent) -> None:
    jobs = [(await ours.call("job_create"))["uid"] for _ in range(250)]
    watch = await Watch.start(ours)
    await watch.next()
    for job in jobs[::2]:
        agent.jobs.begin_removal(agent.jobs.registry.get(job, owner(realm=("token", TOKEN))))
    await watch.until("ready")
    async with asyncio.timeout(PATIENCE_S):
        while set(watch.seen) != set(jobs[1::2]):
            await watch.next()


async def test_a_page_of_the_largest_infos_is_one_message(ours: Peer, agent: Agent) -> None:
    labels = {f"{'l' * 60}{number}": "v" * LABEL_VALUE_MAX for number in range(LABELS_MAX)}
    labels |= {f"pagent/{number}": "v" * LABEL_VALUE_MAX for number in range(ROUTER_LABELS_MAX)}
    infos = []
    for _ in range(100):
        job = (await ours.call("job_create", "n" * JOB_NAME_MAX, labels=labels))["uid"]
        found = agent.jobs.registry.find(job)
        assert found is not None
        found.add_ports(*range(1, PORTS_PER_JOB + 1))
        infos.append(found.info())
    async with (
        connect(f"127.0.0.1:{agent.rpc_port}", token=TOKEN) as link,
        link.open_stream(messages.ISTREAM, "agent_watch") as watch,
    ):
        assert "host" in await watch.receive()
        assert await watch.receive() == {"jobs": infos}
        assert await watch.receive() == {"ready": True}


async def test_a_watch_ends_with_its_cancel(ours: Peer, agent: Agent) -> None:
    watch = await Watch.start(ours)
    await watch.until("ready")
    assert agent.jobs.registry.watchers == 1
    await ours.cancel(watch.call)
    await ours.call("host_info")
    assert agent.jobs.registry.watchers == 0


async def test_notes_are_pushed(ours: Peer) -> None:
    jobs = [(await ours.call("job_create"))["uid"] for _ in range(2)]
    assert await ours.call("job_note", jobs[0], "ticket", b"one") is True
    assert await ours.call("job_note", jobs[1], "used", b"") is True
    watch = await Watch.start(ours)
    first = await watch.until("ready")
    assert first[2:] == [{"note": [jobs[0], "ticket", b"one"]}, {"note": [jobs[1], "used", b""]}, {"ready": True}]
    assert await ours.call("job_note", jobs[0], "ticket", b"two", if_absent=True) is False
    assert await ours.call("job_note", jobs[0], "ticket", b"three", ttl=0.2) is True
    assert await watch.next() == {"note": [jobs[0], "ticket", b"three"]}
    assert await watch.next() == {"note": [jobs[0], "ticket", None]}
    await ours.call("job_note", jobs[1], "used")
    assert await watch.next() == {"note": [jobs[1], "used", None]}
    await ours.call("job_note", jobs[1], "a", b"1")
    assert await watch.next() == {"note": [jobs[1], "a", b"1"]}
    await ours.call("job_remove", jobs[1])
    assert await watch.next() == {"removed": jobs[1]}
    with pytest.raises(CallFailed, match=jobs[1]):
        await ours.call("job_note", jobs[1], "a", b"1")


async def test_notes_are_of_the_realm_and_not_in_the_info(ours: Peer, agent: Agent, peer: Peer) -> None:
    job = (await ours.call("job_create"))["uid"]
    await ours.call("job_start", job, ["sh", "-c", "env; exec sleep 1000"], None, port_expected_count=0)
    before = await ours.call("job_info", job)
    await peer.call("job_note", job, "from-another-link", b"secret of the routers")
    after = await ours.call("job_info", job)
    assert before.keys() == after.keys()
    assert b"secret" not in repr(after).encode()
    foreign = agent.jobs.create(owner("c2", "another realm"))
    with pytest.raises(CallFailed, match=foreign.uid) as caught:
        await ours.call("job_note", foreign.uid, "a", b"1")
    assert caught.value.cause == "JobNotFoundError"
    assert not any(
        b"secret" in file.read_bytes()
        for file in agent.jobs.get(job, owner(realm=("token", TOKEN))).sandbox.path.iterdir()
    )


async def test_a_watcher_without_credit(peer: Peer) -> None:
    watch = Watch(peer, await peer.start(peers.ISTREAM, "agent_watch"))
    await watch.until("ready")
    job = (await peer.call("job_create"))["uid"]
    assert (await watch.next())["job"]["uid"] == job
    await peer.call("job_remove", job)
    assert await watch.next() == {"removed": job}
