"""The budget of bulk reads: a bulk stream does not hold up the others."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PortConnection
from pagent.net.read_budget import ITERATION_BYTES, READ_PAUSABLE, ReadBudget, current_budget
from tests.kit.ends import QuietUser, connected
from tests.kit.peer import PATIENCE_S

PIECE = ITERATION_BYTES // 4


class User(QuietUser):
    """A user of a port. All users of a test share one list of the data that they got, in order."""

    def __init__(self, name: str, got: list[tuple[str, int]], enough: asyncio.Event | None = None) -> None:
        self.name = name
        self.got = got
        self.enough = enough

    def port_data(self, data: bytes) -> None:
        self.got.append((self.name, len(data)))
        if self.enough is not None:
            self.enough.set()


class Named:
    """A reader. All readers of a test share one list of those that were resumed."""

    def __init__(self, name: str = "", resumed: list[str] | None = None) -> None:
        self.name = name
        self.resumed = resumed if resumed is not None else []

    def resume(self) -> None:
        self.resumed.append(self.name)


async def test_bulk_reads_of_one_iteration_are_bounded() -> None:
    budget = ReadBudget()
    resumed: list[str] = []
    for _ in range(ITERATION_BYTES // PIECE - 1):
        assert not budget.spend(PIECE, Named("never", resumed))
    assert budget.spend(PIECE, Named("first", resumed))
    assert budget.spend(READ_PAUSABLE, Named("second", resumed))
    assert not budget.spend(READ_PAUSABLE - 1, Named("small", resumed))
    assert resumed == []
    await asyncio.sleep(0)
    assert resumed == ["first", "second"]
    assert not budget.spend(PIECE, Named())


async def test_a_loop_has_one_budget() -> None:
    assert current_budget() is current_budget()

    def other() -> ReadBudget:
        async def current() -> ReadBudget:
            return current_budget()

        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(current())

    assert await asyncio.to_thread(other) is not current_budget()


async def test_a_small_answer_comes_before_the_end_of_a_bulk_one(listener: socket.socket) -> None:
    got: list[tuple[str, int]] = []
    enough = asyncio.Event()
    pairs = []
    for user in (User("bulk", got), User("small", got, enough)):
        connection = await connect_port(listener.getsockname()[1], user)
        connection.pause_reading()
        job, _ = listener.accept()
        pairs.append((connection, job))
    (bulk, bulk_job), (small, small_job) = pairs
    bulk_job.setblocking(False)
    sent = 0
    try:
        while True:
            sent += bulk_job.send(bytes(PIECE))
    except BlockingIOError:
        pass
    assert sent > 2 * ITERATION_BYTES
    small_job.send(b"answer")
    bulk.resume_reading()
    small.resume_reading()
    async with asyncio.timeout(PATIENCE_S):
        await enough.wait()
    before = sum(size for name, size in got if name == "bulk")
    assert before <= ITERATION_BYTES + PIECE
    assert before < sent
    for connection, job in pairs:
        connection.abort()
        job.close()


class Ready:
    """A connection in memory that has bulk to read."""

    def __init__(self) -> None:
        self.got: list[tuple[str, int]] = []
        self.connection, self.transport = connected(User("bulk", self.got))

    def read(self, connection: PortConnection) -> None:
        for _ in range(2 * ITERATION_BYTES // READ_PAUSABLE):
            if self.transport.reading:
                connection.data_received(bytes(READ_PAUSABLE))


async def test_a_paused_reader_is_resumed_in_the_next_iteration() -> None:
    ready = Ready()
    ready.read(ready.connection)
    assert sum(size for _, size in ready.got) == ITERATION_BYTES
    await asyncio.sleep(0)
    assert ready.transport.reading


async def test_a_reader_stays_paused_if_its_user_has_paused_it() -> None:
    ready = Ready()
    ready.read(ready.connection)
    ready.connection.pause_reading()
    await asyncio.sleep(0)
    assert not ready.transport.reading
    ready.connection.resume_reading()
    assert ready.transport.reading


async def test_a_user_that_resumes_does_not_get_more_of_the_budget() -> None:
    ready = Ready()
    ready.read(ready.connection)
    ready.connection.pause_reading()
    ready.connection.resume_reading()
    assert not ready.transport.reading
    await asyncio.sleep(0)
    assert ready.transport.reading


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_reader_that_is_closed_is_not_resumed(end: str) -> None:
    ready = Ready()
    ready.read(ready.connection)
    getattr(ready.connection, end)()
    await asyncio.sleep(0)
    assert not ready.transport.reading
