"""An agent that was started with ``--join``: how it presents itself, and when it ends by itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pagent.agent import Agent
from pagent.config.joining import SLURM_END, WARN_S, JoinData
from pagent.config.model import Settings
from pagent.errors import DialError, LinkClosedError, MethodError
from pagent.jobs.model import State
from pagent.net.dial import parse_address
from pagent.service import joining
from pagent.service.joining import JoinedLife, JoinedLinks
from pagent.wire.closing import POLICY_VIOLATION
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.routers import connected, running_router
from tests.kit.slurm import free_ports
from tests.kit.transfers import eventually

SECRET = "a-join-token-of-the-tests"
#: Writes when it gets TERM, and ends then.
WARNED = "trap 'echo warned; exit 0' TERM; echo ready; while :; do sleep 0.05; done"


def join_data(*ports: int, **options: Any) -> JoinData:
    addresses = tuple(f"127.0.0.1:{port}" for port in ports)
    return JoinData(**{"addresses": addresses, "token": SECRET, "uid": "joined", "idle_s": 600.0, **options})


@asynccontextmanager
async def joined(settings: Settings, join: JoinData) -> AsyncIterator[Agent]:
    agent = Agent(join.settings(settings), join=join)
    try:
        await agent.start()
        yield agent
    finally:
        agent.end(0)
        agent.end(0)
        await agent.stop()


@asynccontextmanager
async def joined_process(
    folder: Path, join: JoinData, level: str | None = None, **options: Any
) -> AsyncIterator[AgentProcess]:
    given = () if level is None else ("--log-level", level)
    async with agent_process(
        folder, *given, "--join", "-", accepts=False, started=False, stdin=asyncio.subprocess.PIPE, **options
    ) as agent:
        assert agent.process.stdin is not None
        agent.process.stdin.write(join.encode())
        await agent.process.stdin.drain()
        yield agent


def presented(peer: Peer) -> str:
    return str(peer.hello[2][2]["auth"]["token"])


async def start(peer: Peer, script: str) -> str:
    """Start a script as a job; return its uid once it is ready."""
    uid = str((await peer.call("job_create", "job"))["uid"])
    await peer.call("job_start", uid, ["sh", "-c", script], {}, None, 0)
    logs = await peer.start(peers.ISTREAM, "job_logs", uid, "stdout", follow=True)
    assert (await peer.next_of(logs))[2] == b"ready\n"
    await peer.cancel(logs)
    return uid


# --- the process ------------------------------------------------------------------------------------


async def test_the_process_dials_and_ends_when_it_is_idle(tmp_path: Path) -> None:
    """Its standard input stays open: it reads one object, and not to the end."""
    async with peers.listen() as router:
        join = join_data(router.port, properties={"pool": "p"}, idle_s=1.0)
        async with joined_process(tmp_path, join, stdout=asyncio.subprocess.PIPE) as agent:
            peer = await router.accepted()
            job = (await peer.call("job_create", "job"))["uid"]  # from now on it is not idle
            data = peer.hello[2][2]
            assert (data["auth"]["uid"], presented(peer), data["properties"]) == ("joined", SECRET, {"pool": "p"})
            _assert_concealed(agent.process.pid, tmp_path)
            assert agent.process.stdout is not None
            assert await agent.process.stdout.readline() == b"pagent: joining\n"
            await peer.call("job_remove", job)
            assert await agent.ended() == 0
    assert not [*filter(None, agent.log)]  # its log is a part of the engine's words, which say what is not normal


async def test_the_level_of_the_log_can_be_given(tmp_path: Path) -> None:
    async with (
        peers.listen() as router,
        joined_process(tmp_path, join_data(router.port, idle_s=0.1), level="debug") as agent,
    ):
        await router.accepted()
        assert await agent.ended() == 0
    assert "started: uid=joined" in "\n".join(agent.log)
    assert "the joined agent ends: it has had no jobs" in "\n".join(agent.log)
    assert SECRET not in "\n".join(agent.log)


async def test_an_agent_without_a_link_is_not_idle(settings: Settings) -> None:
    """A router that is restarted meanwhile may have a job for it."""
    (port,) = free_ports(1)
    async with joined(settings, join_data(port, idle_s=0.3)) as agent:
        await asyncio.sleep(0.6)
        assert not agent.is_ending
        async with peers.listen(port=port) as router:
            await router.accepted()
            async with asyncio.timeout(PATIENCE_S):
                assert await agent.wait() == 0


def _assert_concealed(pid: int, folder: Path) -> None:
    """The token is in no argument, environment or file, and the agent listens for the reports of jobs alone."""
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it ends meanwhile
            assert SECRET not in " ".join(each.cmdline()) + str(each.environ())
    files = [Path(folder, name) for folder, _, names in os.walk(folder) for name in names]
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    assert len([each for each in process.net_connections() if each.status == psutil.CONN_LISTEN]) == 1


async def test_wrong_join_data_ends_the_process_with_2(tmp_path: Path) -> None:
    async with joined_process(tmp_path, join_data(1, token="")) as agent:
        assert await agent.ended() == 2
    assert agent.log[0] == "pagent: --join: token: must be a string that is not empty (pagent help wrong-value)"


async def test_an_agent_that_no_router_takes_ends(tmp_path: Path) -> None:
    async with peers.listen() as one, peers.listen() as two:
        one.refuses = True
        async with joined_process(tmp_path, join_data(one.port, two.port)) as agent:
            link = await two.accepted()
            two.refuses = True
            await link.close()
            assert await agent.ended() == 0
    assert "every router refuses it" in "\n".join(agent.log)


async def test_a_deadline_that_is_far(tmp_path: Path) -> None:
    deadline = float(int(time.time())) + 3600.0
    environ = {SLURM_END: f"{deadline:.0f}"}
    async with peers.listen() as router, joined_process(tmp_path, join_data(router.port), env=environ):
        info = await (await router.accepted()).call("host_info")
        assert (info["deadline"], info["cordoned"]) == (deadline, False)


# --- in the loop of the test ------------------------------------------------------------------------


class Clock:
    """Epoch seconds, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of joined agents, which look at it often."""
    clock = Clock()
    monkeypatch.setattr("pagent.agent.JoinedLife", partial(JoinedLife, clock=clock))
    monkeypatch.setattr(joining, "_CLOCK_S", 0.02)
    return clock


async def test_jobs_are_warned_before_the_deadline(settings: Settings, clock: Clock) -> None:
    join = partial(join_data, deadline=time.time() + 3600.0)
    async with peers.listen() as router, joined(settings, join(router.port)) as agent:
        peer = await router.accepted()
        job = await start(peer, WARNED)
        clock.ahead_s = 3600.0 - WARN_S
        info = await peer.call("job_wait", job)
        assert (info["state"], info["exit_code"]) == (State.FINISHED.value, 0)
        assert not agent.is_ending
        assert (await peer.call("host_info"))["cordoned"] is True


async def test_an_agent_with_little_time_takes_its_first_job(settings: Settings) -> None:
    """The allocation is shorter than the time for which an agent takes no new jobs."""
    async with running_router() as running:
        join = join_data(running.server_port, token=TOKEN, deadline=time.time() + 60.0)
        async with joined(settings, join) as agent:
            link = await connected(running, "joined")
            assert (await link.call("host_info"))["cordoned"] is False
            await running.directory.create(link, "job")
            await eventually(lambda: agent.jobs.admission.is_cordoned)
            with pytest.raises(MethodError, match="cordoned"):
                await running.directory.create(link, "job")


async def test_the_agent_ends_at_the_deadline(
    settings: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    join = partial(join_data, deadline=time.time() + 3600.0)
    async with peers.listen() as router, joined(settings, join(router.port)) as agent:
        await router.accepted()
        clock.ahead_s = 3600.0
        async with asyncio.timeout(PATIENCE_S):
            assert await agent.wait() == 0
    assert "its time is over" in caplog.text


async def test_host_end_ends_the_agent_after_its_jobs(settings: Settings) -> None:
    async with peers.listen() as router, joined(settings, join_data(router.port)) as agent:
        peer = await router.accepted()
        job = await start(peer, WARNED)
        ended, answer = await asyncio.gather(peer.call("job_wait", job), peer.call("host_end", grace=20.0))
        assert (ended["exit_code"], answer) == (0, None)
        async with asyncio.timeout(PATIENCE_S):
            assert await agent.wait() == 0


async def test_host_end_kills_after_the_grace(settings: Settings) -> None:
    async with peers.listen() as router, joined(settings, join_data(router.port)) as agent:
        peer = await router.accepted()
        job = await start(peer, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        ended, _ = await asyncio.gather(peer.call("job_wait", job), peer.call("host_end", grace=0))
        assert ended["signal"] == "SIGKILL"
        async with asyncio.timeout(PATIENCE_S):
            assert await agent.wait() == 0


async def test_other_agents_cannot_be_ended(peer: Peer) -> None:
    for method, argument in (("host_end", 1.0), ("host_credential", "x")):
        with pytest.raises(CallFailed, match="not started with --join") as caught:
            await peer.call(method, argument)
        assert caught.value.cause == "JobInvalidStateError"


@pytest.mark.parametrize("value", ["", 5, "x" * 5000])
async def test_a_wrong_credential(settings: Settings, value: object) -> None:
    async with peers.listen() as router, joined(settings, join_data(router.port)):
        with pytest.raises(CallFailed, match="value must"):
            await (await router.accepted()).call("host_credential", value)


async def test_later_links_present_what_the_router_has_given(settings: Settings) -> None:
    async with peers.listen(credential="first") as router, joined(settings, join_data(router.port)):
        peer = await router.accepted()
        assert presented(peer) == SECRET
        await peer.close()
        peer = await router.accepted()
        assert presented(peer) == "first"
        await peer.call("host_credential", "second")
        await peer.close()
        router.more.clear()
        assert presented(await router.accepted()) == "second"


# --- links ------------------------------------------------------------------------------------------

ONE, TWO = parse_address("one:1"), parse_address("two:1")
REFUSED = LinkClosedError(POLICY_VIOLATION, "no")


async def test_a_router_that_cannot_be_reached_may_still_take_the_agent() -> None:
    ends: list[str] = []
    links = JoinedLinks(2, ends.append, lambda _: None)
    assert not links.lost(ONE, REFUSED)
    assert not links.lost(TWO, DialError("refused by the system"))
    assert not links.lost(ONE, REFUSED)
    assert not ends
    assert links.lost(TWO, REFUSED)
    assert ends == ["every router refuses it: " + str(REFUSED)]
    links.cancel()


async def test_no_router_for_long() -> None:
    ended = asyncio.get_running_loop().create_future()
    links = JoinedLinks(2, ended.set_result, lambda _: None, unreachable_s=0.05)
    assert not links.lost(ONE, DialError("refused by the system"))
    async with asyncio.timeout(PATIENCE_S):
        assert await ended == "no router could be reached for 0 s"
    assert links.ended.is_set()
