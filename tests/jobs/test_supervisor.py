"""The agent's side of a supervisor, against a supervisor that is played over a socket."""

from __future__ import annotations

import asyncio
import errno
import marshal
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pagent.jobs.keeper import protocol
from pagent.jobs.supervisor import Child, StartError, StartRequest, SupervisorClient
from pagent.jobs.tree import Key
from pagent.jobs.trees import Trees
from tests.jobs.conftest import PATIENCE_S
from tests.jobs.table import KEEPER, Table, new_trees
from tests.kit.descriptors import left_open, open_files, targets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")

SUPERVISOR_PID, PID, OTHER_PID, STARTED = 50, 60, 61, 1000
SUPERVISOR = protocol.REPORT.pack(protocol.SUPERVISOR, 0, SUPERVISOR_PID, STARTED)
FORKED = protocol.REPORT.pack(protocol.FORKED, 1, PID, STARTED)
EMPTY = protocol.REPORT.pack(protocol.EMPTY, 0, 0, 0)


def exited(run: int, status: int) -> bytes:
    return protocol.REPORT.pack(protocol.EXITED, run, status, 0)


def failed(run: int, number: int) -> bytes:
    return protocol.REPORT.pack(protocol.FAILED, run, number, protocol.FORK)


class Taken(NamedTuple):
    """A request as the supervisor receives it."""

    run: int
    plan: object
    settling: int


class Site:
    """A client with its tree, and the supervisor's end of the control socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = Table()
        self.trees: Trees = new_trees(self.table)
        self.tree = self.trees.new("uid", folder)
        self.by_pid: dict[int, SupervisorClient] = {}
        self.events: list[object] = []
        self.client, self.theirs = self.connect()

    def connect(self) -> tuple[SupervisorClient, socket.socket]:
        ours, theirs = socket.socketpair()
        theirs.settimeout(PATIENCE_S)
        return SupervisorClient(ours, self.tree, self.trees, self.by_pid), theirs

    def child(self, name: str = "main") -> Child:
        def forked(child: Child) -> None:
            self.events.append((name, "forked", child.key))

        def started(child: Child) -> None:
            self.events.append((name, "started"))

        return Child(lambda code: self.events.append((name, "ended", code)), forked=forked, started=started)

    def ask(self, child: Child, client: SupervisorClient | None = None) -> None:
        """Request the start of a process whose descriptors are of the test's folder."""
        place = os.open(self.folder, os.O_RDONLY)
        try:
            (client or self.client).start(StartRequest({"program": "x"}, [place] * 4, child))
        finally:
            os.close(place)

    def take(self) -> Taken:
        data, descriptors, _, _ = socket.recv_fds(self.theirs, protocol.REQUEST.size, protocol.DESCRIPTORS)
        plan, *others, settling = descriptors
        content = marshal.loads(os.pread(plan, 4096, 0))
        for descriptor in (plan, *others):
            os.close(descriptor)
        return Taken(protocol.REQUEST.unpack(data)[0], content, settling)

    def close(self) -> None:
        self.client.abandon()
        self.theirs.close()


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


async def read() -> None:
    """Let the loop handle what is readable now."""
    for _ in range(3):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the end of an orphan is polled for
            await asyncio.sleep(0.005)


async def begun(site: Site, *reports: bytes) -> tuple[Child, Taken]:
    """Request a process that is forked, and send these reports."""
    child = site.child()
    site.ask(child)
    taken = site.take()
    site.theirs.sendall(b"".join(reports))
    await read()
    return child, taken


async def test_a_process_from_its_request_to_the_end_of_the_tree(site: Site) -> None:
    child, taken = await begun(site, SUPERVISOR, FORKED)
    assert (taken.run, taken.plan) == (1, {"program": "x"})
    assert site.client.ready.done()
    assert site.client.ready.exception() is None
    assert (site.tree.supervisor, child.key) == ((SUPERVISOR_PID, STARTED), (PID, STARTED))
    assert site.events == [("main", "forked", (PID, STARTED))]
    assert not child.running.done()
    os.close(taken.settling)
    await read()
    assert child.running.done()
    site.theirs.sendall(exited(1, 3 << 8) + EMPTY)
    await read()
    assert site.events[1:] == [("main", "started"), ("main", "ended", 3)]
    assert site.tree.over
    assert site.by_pid == {}


async def test_a_signal_is_a_negative_code(site: Site) -> None:
    _, taken = await begun(site, SUPERVISOR, FORKED)
    os.close(taken.settling)
    site.theirs.sendall(exited(1, signal.SIGKILL))
    await read()
    assert site.events[-1] == ("main", "ended", -9)


def test_reports_may_be_cut_anywhere(tmp_path: Path) -> None:
    """The socket is a stream: a report may come in two pieces."""
    reports = SUPERVISOR + FORKED + exited(1, 0) + EMPTY

    async def events(*pieces: bytes) -> list[object]:
        site = Site(tmp_path)
        site.ask(site.child())
        settling = site.take().settling
        sent = 0
        for piece in pieces:
            site.theirs.sendall(piece)
            sent += len(piece)
            if sent >= len(SUPERVISOR + FORKED) > sent - len(piece):
                os.close(settling)  # a process becomes its program when it is reported
            await read()
        assert site.tree.over
        site.close()
        return site.events

    async def compare() -> None:
        whole = await events(reports)
        assert whole == [("main", "forked", (PID, STARTED)), ("main", "started"), ("main", "ended", 0)]
        for cut in range(1, len(reports)):
            assert await events(reports[:cut], reports[cut:]) == whole
        assert await events(*(reports[at : at + 1] for at in range(len(reports)))) == whole

    asyncio.run(compare())


@pytest.mark.parametrize("step", [protocol.CONFINE, protocol.ENTER, protocol.EXECUTE])
async def test_a_program_that_cannot_be_executed(site: Site, step: int) -> None:
    child, taken = await begun(site, SUPERVISOR, FORKED)
    os.write(taken.settling, protocol.FAILURE.pack(errno.ENOENT, step))
    os.close(taken.settling)
    site.theirs.sendall(exited(1, 127 << 8) + EMPTY)
    await read()
    error = child.running.exception()
    assert isinstance(error, StartError)
    assert (error.errno, error.strerror) == (errno.ENOENT, os.strerror(errno.ENOENT))
    assert (error.confining, error.entering) == (step == protocol.CONFINE, step == protocol.ENTER)
    assert ("main", "ended", 127) not in site.events  # it never was its program
    assert site.tree.over


async def test_a_process_that_cannot_be_forked(site: Site) -> None:
    child, taken = await begun(site, SUPERVISOR)
    os.close(taken.settling)
    await read()
    assert not child.running.done()  # the report says why
    site.theirs.sendall(failed(1, errno.EAGAIN))
    await read()
    error = child.running.exception()
    assert isinstance(error, StartError)
    assert (error.errno, error.confining) == (errno.EAGAIN, False)
    other = site.child("other")
    site.ask(other)
    assert site.take().run == 2


async def test_a_supervisor_that_cannot_be_forked(site: Site) -> None:
    await begun(site, failed(0, errno.ENOMEM))
    error = site.client.ready.exception()
    assert isinstance(error, StartError)
    assert error.errno == errno.ENOMEM
    assert not site.tree.supervised


async def test_without_a_supervisor_its_child_can_be_requested_again(site: Site) -> None:
    """The keeper was killed with the request in its socket: the pipe of the start ends together with the socket."""
    child = site.child()
    site.ask(child)
    site.theirs.close()
    await read()
    assert isinstance(site.client.ready.exception(), ConnectionResetError)
    assert not child.running.done()
    assert not site.tree.supervised
    site.client, site.theirs = site.connect()
    site.ask(child)
    os.close(site.take().settling)
    site.theirs.sendall(SUPERVISOR + FORKED)
    await read()
    assert child.running.done()
    assert child.running.exception() is None
    assert site.events == [("main", "forked", (PID, STARTED)), ("main", "started")]


async def test_a_process_of_a_killed_supervisor_ends_when_it_is_gone(site: Site) -> None:
    child, taken = await begun(site, SUPERVISOR, FORKED)
    os.close(taken.settling)
    site.table.add(PID, KEEPER)
    site.table.processes[PID] = site.table.processes[PID]._replace(started=STARTED)
    site.theirs.close()
    await read()
    assert site.tree.lost
    assert site.trees.awaited == {PID}
    assert site.events[-1] == ("main", "started")
    del site.table.processes[PID]
    await until(lambda: len(site.events) == 3)
    assert site.events[-1] == ("main", "ended", -9)  # nothing has reported how
    assert (site.trees.awaited, site.by_pid) == (set(), {})
    assert child.running.exception() is None


async def test_a_process_of_a_killed_supervisor_is_reported_by_the_keeper(site: Site) -> None:
    _, taken = await begun(site, SUPERVISOR, FORKED)
    os.close(taken.settling)
    site.theirs.close()
    await read()
    assert site.by_pid[PID] is site.client
    site.client.orphan_exited(OTHER_PID, 0)
    assert site.events[-1] == ("main", "started")
    site.client.orphan_exited(PID, 5 << 8)
    site.client.orphan_exited(PID, 0)  # it is known already
    assert site.events[1:] == [("main", "started"), ("main", "ended", 5)]
    assert site.by_pid == {}


async def test_a_process_that_a_killed_supervisor_has_not_forked(site: Site) -> None:
    child, taken = await begun(site, SUPERVISOR)
    site.theirs.close()
    os.close(taken.settling)
    await read()
    error = child.running.exception()
    assert isinstance(error, StartError)
    assert error.errno == errno.ESRCH


@pytest.mark.parametrize("turns", range(4))
async def test_an_exit_that_is_read_before_the_start(site: Site, turns: int) -> None:
    """A program may end so soon that its exit is reported before the loop looks at the pipe of its start."""
    _, taken = await begun(site)
    site.theirs.sendall(SUPERVISOR + FORKED + exited(1, 0) + EMPTY)
    for _ in range(turns):
        await asyncio.sleep(0)
    os.close(taken.settling)
    await read()
    names = [event[1] for event in site.events if isinstance(event, tuple)]
    assert names in (["forked", "started", "ended"], ["forked", "ended"])
    assert names.count("ended") == 1


async def test_a_closed_client_requests_nothing(site: Site) -> None:
    before = len(open_files(site.folder))
    site.client.close()
    with pytest.raises(OSError, match="the job's supervisor has ended") as caught:
        site.ask(site.child())
    assert caught.value.errno == errno.ESRCH
    assert len(open_files(site.folder)) == before
    site.client.close()


async def test_a_request_without_descriptors_leaves_none(site: Site) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    place = os.open(site.folder, os.O_RDONLY)
    child = site.child()
    before = targets()
    try:
        for room in range(3):  # for the plan, and for one end of the pipe
            lowest = os.dup(place)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, hard))
            try:
                with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                    site.client.start(StartRequest({}, [place] * 4, child))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert left_open(before) == {}
    finally:
        os.close(place)
    site.ask(child)
    os.close(site.take().settling)


async def test_an_abandoned_client_calls_nothing(site: Site) -> None:
    child, taken = await begun(site, SUPERVISOR, FORKED)
    site.client.abandon()
    os.close(taken.settling)
    await read()
    assert site.events == [("main", "forked", (PID, STARTED))]
    assert not child.running.done()
    assert site.theirs.recv(1) == b""
    assert site.by_pid == {}


async def test_reports_of_unknown_runs_are_ignored(site: Site) -> None:
    _, taken = await begun(site, SUPERVISOR, exited(9, 0), failed(9, errno.EIO), FORKED)
    assert [event[1] for event in site.events if isinstance(event, tuple)] == ["forked"]
    os.close(taken.settling)


async def test_a_start_time_that_the_supervisor_cannot_read_is_looked_up(site: Site) -> None:
    """It reports 0 when it has no descriptor left."""
    own: Key = site.table.add(PID, SUPERVISOR_PID).key
    child, taken = await begun(site, SUPERVISOR, protocol.REPORT.pack(protocol.FORKED, 1, PID, 0))
    assert child.key == own
    os.close(taken.settling)
