"""Processes that jobs start end with them, however they hide; no other process is ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import gone, is_alive
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, AgentProcess, agent_process
from tests.kit.peer import BISTREAM, ISTREAM, UNARY, CallFailed, Peer
from tests.kit.probe import STALL_S, probing

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

#: Starts daemons of all forms, says their pids, and waits (or ends, or ends its own supervisor first).
DAEMONS = """
import os, signal, sys, time

def daemon(*steps):
    read, write = os.pipe()
    if os.fork() == 0:
        for step in steps:
            step()
        os.write(write, b"%d " % os.getpid())
        os.close(write)
        signal.pause()
    os.close(write)
    text = os.read(read, 100)
    os.close(read)
    return text.decode()

def again():
    if os.fork() != 0:
        os._exit(0)

def empty(program="/bin/sleep", *args, **environment):
    os.write(write_of[0], b"%d " % os.getpid())
    os.execve(program, ["sleep", "1000"], environment)

def ignore():
    for number in range(1, signal.SIGRTMAX):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)

def other_user():
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)

def close():
    os.closerange(0, 3)

def borrow():
    for name in list(os.environ):
        os.unsetenv(name)
    os.putenv("DA__PAGENT__JOB_ID", sys.argv[1])
    os.putenv("PAGENT_JOB_MARK", sys.argv[1])

root = lambda: os.chdir("/")
clean = lambda: [os.unsetenv(name) for name in list(os.environ)]
pids = [
    daemon(os.setsid),
    daemon(again),
    daemon(os.setsid, again, root),
    daemon(clean),
    daemon(clean, os.setsid, again, root, close),
    daemon(borrow, os.setsid, again, root),
    daemon(os.setsid, again, other_user, root, clean),
    daemon(ignore, os.setsid, again, clean, root),
    daemon(os.setpgrp, again, again, os.setsid, again, root, close),
    daemon(os.setsid, again, os.setsid, again, clean, root, ignore, other_user),
]
def ancestor(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])

if sys.argv[2] in ("killed", "both killed"):
    targets = [os.getppid()]
    if sys.argv[2] == "both killed":
        targets.append(ancestor(targets[0]))
    if os.fork() == 0:
        for target in targets:
            os.kill(target, signal.SIGKILL)
        os._exit(0)
    os.wait()
print(os.getpid(), *pids, flush=True)
if sys.argv[2] != "exits":
    signal.pause()
"""


async def daemons(peer: Peer, other: str, how: str = "stays") -> tuple[str, list[int]]:
    """A job that starts them; its uid and their pids."""
    job = str((await peer.call("job_create"))["uid"])
    command = [sys.executable, "-c", DAEMONS, other, how]
    await peer.call("job_start", job, command, None, None, 0)
    return job, await first_pids(peer, job)


async def first_pids(peer: Peer, job: str) -> list[int]:
    logs = await peer.start(ISTREAM, "job_logs", job, follow=True)
    text = b""
    while b"\n" not in text:
        text += (await peer.next_of(logs))[2]
    await peer.cancel(logs)
    return [int(pid) for pid in text.split()]


@asynccontextmanager
async def an_agent(root: Path, *arguments: str, **options: Any) -> AsyncIterator[tuple[AgentProcess, Peer]]:
    async with agent_process(root, *arguments, **options) as agent, peers.dial(agent.ports["rpc"], TOKEN) as peer:
        yield agent, peer


async def all_gone(pids: list[int]) -> None:
    for pid in pids:
        await gone(pid)


@pytest.mark.parametrize("how", ["stays", "killed"])
async def test_daemons_end_with_their_job_only(tmp_path: Path, how: str) -> None:
    async with an_agent(tmp_path) as (_, peer):
        mine, mine_pids = await daemons(peer, "f" * 32, how)
        other, others_pids = await daemons(peer, mine)
        assert len(mine_pids) == len(others_pids) == 11
        await peer.call("job_remove", mine)
        await all_gone(mine_pids)
        assert all(map(is_alive, others_pids))
        assert (await peer.call("job_info", other))["state"] == "RUNNING"
        await peer.call("job_kill", other, "KILL")
        await all_gone(others_pids)


@pytest.mark.slow
async def test_daemons_end_after_the_main_process(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (_, peer):
        job, pids = await daemons(peer, "f" * 32, "exits")
        await all_gone(pids)
        assert (await peer.call("job_wait", job))["exit_code"] == 0


@pytest.mark.slow
async def test_a_job_that_kills_supervisor_and_keeper_is_ended(tmp_path: Path) -> None:
    """Nothing could prove to the next agent that its daemons are of a job."""
    async with an_agent(tmp_path) as (agent, peer):
        other, others_pids = await daemons(peer, "f" * 32)
        job, pids = await daemons(peer, other, "both killed")
        await all_gone(pids)
        info = await peer.call("job_wait", job)
        assert (info["state"], info["signal"]) == ("FINISHED", "SIGKILL")
        assert await agent.says("ended, because its supervisor and the keeper were killed")
        assert all(map(is_alive, others_pids))
        later, later_pids = await daemons(peer, other, "killed")
        await peer.call("job_remove", other)
        await all_gone(others_pids)
        assert all(map(is_alive, later_pids))
        await peer.call("job_remove", later)
        await all_gone(later_pids)


@pytest.mark.parametrize("how", ["stays", "killed"])
@pytest.mark.slow
async def test_daemons_end_after_a_kill_of_the_agent(tmp_path: Path, how: str) -> None:
    """Also those of killed supervisors: the keeper proves that they are of jobs."""
    async with an_agent(tmp_path) as (living, other), agent_process(tmp_path) as killed:
        kept, kept_pids = await daemons(other, "f" * 32)
        async with peers.dial(killed.ports["rpc"], TOKEN) as peer:
            _, pids = await daemons(peer, kept)
            if how == "killed":
                pids += (await daemons(peer, kept, "killed"))[1]
            assert all(map(is_alive, pids))
            killed.signal(signal.SIGKILL)
            assert await killed.ended() == -9
        await all_gone(pids)
        assert len(os.listdir(tmp_path)) == 2
        async with agent_process(tmp_path) as following:
            assert await following.says(r"cleaned up after a dead agent: \S+, processes ended: 0")
            assert all(map(is_alive, kept_pids))
            following.signal(signal.SIGTERM)
            assert await following.ended() == 0
        living.signal(signal.SIGTERM)
        assert await living.ended() == 0
    await all_gone(kept_pids)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("which", ["the keeper alone", "supervisors as well"])
@pytest.mark.slow
async def test_the_next_start_ends_what_the_keeper_does_not(tmp_path: Path, which: str) -> None:
    """The keeper is stopped, and ends nothing; or it is killed with the agent, and supervisors prove the rest."""
    async with agent_process(tmp_path) as killed:
        async with peers.dial(killed.ports["rpc"], TOKEN) as peer:
            _, pids = await daemons(peer, "f" * 32)
            if which == "the keeper alone":
                pids += (await daemons(peer, "f" * 32, "killed"))[1]
            (keeper,) = children(killed.process.pid)
            os.kill(keeper, signal.SIGSTOP)
            killed.signal(signal.SIGKILL)
            assert await killed.ended() == -9
            if which == "supervisors as well":
                os.kill(keeper, signal.SIGKILL)
        assert all(map(is_alive, pids))
        async with agent_process(tmp_path) as following:
            assert await following.says(rf"cleaned up after a dead agent: \S+, processes ended: {len(pids)}")
            await all_gone([*pids, keeper])
            following.signal(signal.SIGTERM)
            assert await following.ended() == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
async def test_an_exec_may_start_daemons_too(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (_, peer):
        job = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", job, ["sleep", "1000"], None, None, 0)
        call = await peer.start(BISTREAM, "job_exec", job, [sys.executable, "-c", DAEMONS, job, "exits"])
        values, code = await peer.outcome(call)
        assert code == 0
        pids = [int(pid) for pid in b"".join(values).split()]
        assert len(pids) == 11
        assert all(map(is_alive, pids[1:]))
        await peer.call("job_remove", job)
        await all_gone(pids)


async def test_killed_supervisors_are_no_end_of_their_jobs(tmp_path: Path) -> None:
    """Also in the first moment of a program, before its start is reported."""
    async with an_agent(tmp_path) as (_, peer):
        for _ in range(20):
            job = (await peer.call("job_create"))["uid"]
            await peer.call("job_start", job, ["sh", "-c", "kill -9 $PPID; exec sleep 1000"], None, None, 0)
            info = await peer.call("job_kill", job, "TERM")
            assert (info["state"], info["signal"]) == ("FINISHED", "SIGTERM")
            await peer.call("job_remove", job)


@pytest.mark.slow
async def test_a_killed_supervisor_is_no_end_of_the_job(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (_, peer):
        job = (await peer.call("job_create"))["uid"]
        script = "kill -9 $PPID; echo $$; trap 'exit 7' TERM; while :; do sleep 0.01; done"
        await peer.call("job_start", job, ["sh", "-c", script], None, None, 0)
        (pid,) = await first_pids(peer, job)
        assert is_alive(pid)
        assert (await peer.call("job_info", job))["state"] == "RUNNING"
        info = await peer.call("job_kill", job, "TERM")
        assert (info["state"], info["exit_code"], info["signal"]) == ("FINISHED", 7, None)
        await fails_to_execute(peer, job)
        await peer.call("job_remove", job)


async def fails_to_execute(peer: Peer, job: str) -> None:
    with pytest.raises(CallFailed):
        await peer.outcome(await peer.start(BISTREAM, "job_exec", job, ["true"]))


@pytest.mark.slow
async def test_a_stopped_supervisor_keeps_nothing(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (_, peer):
        job = (await peer.call("job_create"))["uid"]
        script = "kill -STOP $PPID; setsid sleep 1000 & echo $$ $!; wait; sleep 1000"
        await peer.call("job_start", job, ["sh", "-c", script], None, None, 0)
        pids = await first_pids(peer, job)
        info = await peer.call("job_kill", job, "KILL")
        assert (info["state"], info["signal"]) == ("FINISHED", "SIGKILL")
        await all_gone(pids)


@pytest.mark.slow
async def test_a_killed_keeper_is_replaced(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (agent, peer):
        job, pids = await daemons(peer, "f" * 32)
        (keeper,) = children(agent.process.pid)
        os.kill(keeper, signal.SIGKILL)
        await gone(keeper)
        _, others = await daemons(peer, job)
        await peer.call("job_remove", job)
        await all_gone(pids)
        assert all(map(is_alive, others))
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
    await all_gone(others)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- the first process of a container -----------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a PID namespace")
async def test_a_first_process_leaves_those_of_others_alone(tmp_path: Path) -> None:
    """An operator's, as `docker exec` starts it, whose parent ends: it becomes a child of the agent."""
    within = ["unshare", "-p", "-f", "--mount-proc", "--kill-child=KILL"]
    async with an_agent(tmp_path, within=within) as (agent, peer):
        (init,) = children(agent.process.pid)
        script = "setsid env -i sleep 1000 > /dev/null & setsid sleep 0.1 > /dev/null & echo started"
        operator = await asyncio.create_subprocess_exec("nsenter", "-t", str(init), "-p", "-m", "sh", "-c", script)
        assert await operator.wait() == 0
        async with asyncio.timeout(peers.PATIENCE_S):
            while not (operators := [pid for pid in children(init) if command_of(pid) == "sleep 1000"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        _, pids = await daemons(peer, "f" * 32, "killed")
        assert len(pids) == 11
        for job in await peer.call("job_list"):
            await peer.call("job_remove", job["uid"])
        async with asyncio.timeout(peers.PATIENCE_S):  # the zombie of the second one
            while [pid for pid in children(init) if state_of(pid) == "Z"]:  # noqa: ASYNC110 - reaped now and then
                await asyncio.sleep(0.1)
        assert [command_of(pid) for pid in children(init) if pid in operators] == ["sleep 1000"]
        os.kill(init, signal.SIGTERM)
        assert await agent.ended() == 0


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


# --- long work ----------------------------------------------------------------------------------------


FORKS = """
import os, signal, sys
for _ in range(3000):
    if os.fork() == 0:
        signal.pause()
print(os.getpid(), flush=True)
signal.pause()
"""


@pytest.mark.slow
async def test_a_removal_of_3000_processes_holds_nothing_up(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (agent, peer), probing(agent) as probe:
        job = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", job, [sys.executable, "-I", "-S", "-c", FORKS], None, None, 0)
        (pid,) = await first_pids(peer, job)
        await probe.longest_s()
        await peer.call("job_info", job)
        await peer.call("job_remove", job)
        assert await probe.longest_s() < STALL_S
        await gone(pid)


@pytest.mark.slow
async def test_200_starts_hold_nothing_up(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (agent, peer), probing(agent) as probe:
        jobs = [(await peer.call("job_create"))["uid"] for _ in range(200)]
        await probe.longest_s()
        calls = [await peer.start(UNARY, "job_start", job, ["sleep", "1000"], None, None, 0) for job in jobs]
        for call in calls:
            await peer.outcome(call)
        assert await probe.longest_s() < STALL_S
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0


async def test_an_end_amid_50_starts(tmp_path: Path) -> None:
    async with an_agent(tmp_path) as (agent, peer):
        jobs = [(await peer.call("job_create"))["uid"] for _ in range(50)]
        for job in jobs:
            await peer.start(UNARY, "job_start", job, ["sleep", "1000"], None, None, 0)
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
    assert os.listdir(tmp_path) == []


# --- a file system that does not answer ---------------------------------------------------------------


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system whose server never answers, until it is closed."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    path = tmp_path / "hung"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hung", bytes(path), b"fuse", 0, options) != 0:
        os.close(server)
        pytest.skip(f"cannot be mounted: {os.strerror(ctypes.get_errno())}")
    try:
        yield path
    finally:
        os.close(server)  # all that wait get an error
        libc.umount2(bytes(path), 2)


@pytest.mark.parametrize("what", ["program", "path", "cwd"])
@pytest.mark.slow
async def test_a_file_system_that_hangs_holds_up_its_own_start_only(tmp_path: Path, hung: Path, what: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    arguments: dict[str, Any] = {"env": None, "args": ["true"]}
    if what == "program":
        arguments["args"] = [str(hung / "program")]
    elif what == "path":
        arguments["env"] = {"PATH": f"{hung}:/bin:/usr/bin"}
    else:
        arguments["cwd"] = str(hung / "folder")
    async with (
        an_agent(root, "--set", f"jobs.allow_folders=[{str(hung)!r}]") as (agent, peer),
        probing(agent) as probe,
    ):
        job = (await peer.call("job_create"))["uid"]
        start = await peer.start(UNARY, "job_start", job, port_expected_count=0, ready_timeout=2.5, **arguments)
        other = (await peer.call("job_create"))["uid"]
        await peer.call("job_start", other, ["true"], None, None, 0)
        assert (await peer.call("job_wait", other))["exit_code"] == 0
        with pytest.raises(CallFailed, match=r"has not executed its program within 2\.5 s") as caught:
            await peer.outcome(start)
        assert caught.value.cause == "ProcessStartTimeoutError"
        await peer.call("job_remove", job)
        last = (await peer.call("job_create"))["uid"]
        await peer.start(UNARY, "job_start", last, port_expected_count=0, **arguments)
        assert await probe.longest_s() < STALL_S
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0


ENVIRONMENTS = {
    "large": {f"V{number}": "x" * 9000 for number in range(100)},
    "many variables": {f"VARIABLE_{number}": f"value {number}" for number in range(30_000)},
}


@pytest.mark.parametrize("which", ENVIRONMENTS)
@pytest.mark.slow
async def test_30_starts_with_large_environments_hold_nothing_up(tmp_path: Path, which: str) -> None:
    async with an_agent(tmp_path) as (agent, peer), probing(agent) as probe:
        jobs = [(await peer.call("job_create"))["uid"] for _ in range(30)]
        await probe.longest_s()
        env = ENVIRONMENTS[which]
        calls = [await peer.start(UNARY, "job_start", job, ["sleep", "1000"], env, None, 0) for job in jobs]
        for call in calls:
            await peer.outcome(call)
        assert await probe.longest_s() < STALL_S
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
