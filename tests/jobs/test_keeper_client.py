"""The keeper of an agent as a process: when it is started, what it gets, and what follows its end."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from pagent.errors import KeeperStartError
from pagent.jobs.keeper_client import KeeperClient
from pagent.jobs.supervisor import Child, StartRequest, SupervisorClient
from pagent.jobs.tree import NATIVE, JobTree, Key
from pagent.jobs.trees import Trees
from tests.jobs.conftest import PATIENCE_S, gone, is_alive
from tests.jobs.keeper.conftest import plan
from tests.kit.descriptors import left_open, targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


class Site:
    """A client, and the processes that it starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trees = Trees()
        self.recorded: list[Key] = []
        self.client = KeeperClient(self.trees, self.recorded.append)
        self.codes: list[int] = []
        self.supervisors: list[SupervisorClient] = []
        self.trees_made: list[JobTree] = []

    @property
    def keeper(self) -> int:
        """The pid of the keeper that was recorded last."""
        return int(self.recorded[-1][0])

    def tree(self) -> JobTree:
        self.trees_made.append(self.trees.new(f"job {len(self.trees_made)}", self.folder))
        return self.trees_made[-1]

    @contextmanager
    def request(self, *args: str) -> Iterator[StartRequest]:
        """Return a request; close its descriptors at the end."""
        nothing = os.open(os.devnull, os.O_RDWR)
        place = os.open(self.folder, os.O_RDONLY)
        try:
            yield StartRequest(plan(*args), (nothing, nothing, nothing, place), Child(self.codes.append))
        finally:
            os.close(nothing)
            os.close(place)

    def supervise(self, request: StartRequest) -> SupervisorClient:
        supervisor = self.client.supervise(self.tree(), request)
        self.supervisors.append(supervisor)
        return supervisor

    async def start(self, *args: str) -> Child:
        with self.request(*args) as request:
            assert await self.client.answers(self.supervise(request))
        await request.child.running
        return request.child

    def close(self) -> None:
        for supervisor in self.supervisors:
            supervisor.abandon()
        self.client.close()
        for tree in self.trees_made:
            if tree.supervisor is not None:
                with suppress(ChildProcessError):  # the keeper has reaped it
                    os.waitpid(int(tree.supervisor[0]), 0)


@pytest_asyncio.fixture
async def site(tmp_path: Path, subreaper: None) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    async with asyncio.timeout(PATIENCE_S):
        yield made
    made.close()


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


async def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await gone(pid)


async def test_it_is_started_for_the_first_supervisor_and_used_for_all(site: Site) -> None:
    assert site.recorded == []
    children = [await site.start("sleep", "1000") for _ in range(2)]
    assert len(site.recorded) == 1
    keeper = NATIVE.stat(site.keeper)
    assert keeper is not None
    assert keeper.key == site.recorded[0]
    assert keeper.session == site.keeper  # signals from the agent's terminal do not reach it
    for child in children:
        process = NATIVE.stat(child.pid)
        assert process is not None
        supervisor = NATIVE.stat(process.parent)
        assert supervisor is not None
        assert supervisor.parent == site.keeper
        await kill(child.pid)


async def test_it_gets_none_of_the_agents_environment_and_descriptors(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("PAGENT_TOKEN", "secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    child = await site.start("sleep", "1000")
    os.close(write)
    os.set_blocking(read, False)
    assert os.read(read, 1) == b""  # its last writer is closed
    os.close(read)
    environment = environment_of(site.keeper)
    assert [line for line in environment if line and not line.startswith(b"LC_CTYPE")] == [b"LD_LIBRARY_PATH=/nowhere"]
    await kill(child.pid)


async def test_a_keeper_that_has_ended_is_replaced(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    first = await site.start("sleep", "1000")
    old = site.keeper
    await kill(old)
    second = await site.start("sleep", "1000")
    assert site.keeper != old
    assert "the keeper has ended; the next job gets a new one" in caplog.text
    assert is_alive(first.pid)  # its supervisor has outlived the keeper
    for child in (first, second):
        await kill(child.pid)
    while len(site.codes) < 2:  # noqa: ASYNC110 - reports of two processes
        await asyncio.sleep(0.005)
    assert site.codes == [-9, -9]


async def test_a_keeper_that_ends_with_a_request_has_started_nothing(site: Site) -> None:
    child = await site.start("sleep", "1000")
    os.kill(site.keeper, signal.SIGSTOP)
    with site.request("true") as request:
        answer = asyncio.ensure_future(site.client.answers(site.supervise(request)))
        os.kill(site.keeper, signal.SIGKILL)
        assert not await answer
        assert (request.child.pid, request.child.running.done()) == (0, False)
        assert await site.client.answers(site.supervise(request))
    await request.child.running
    await kill(child.pid)


async def test_without_descriptors_nothing_is_started(site: Site) -> None:
    child = await site.start("sleep", "1000")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with site.request("true") as request:
        before = targets()
        lowest = os.dup(request.descriptors[0])
        os.close(lowest)
        for room in range(5):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
            try:
                with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                    site.supervise(request)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert left_open(before) == {}
    await kill(child.pid)


async def test_a_keeper_that_cannot_be_started_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/interpreter")
    before = targets()
    with site.request("true") as request, pytest.raises(KeeperStartError, match="/no/such/interpreter: No such file"):
        site.supervise(request)
    assert left_open(before) == {}
    assert site.recorded == []
    monkeypatch.undo()
    child = await site.start("sleep", "1000")
    await kill(child.pid)


async def test_its_end_is_waited_for(site: Site) -> None:
    child = await site.start("sleep", "1000")
    pid = site.keeper
    assert site.client.close() == pid
    assert NATIVE.stat(pid) is None  # reaped
    assert site.client.close() is None
    await kill(child.pid)
