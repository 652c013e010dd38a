"""The budget of bulk reads: a bulk stream does not keep the others waiting."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pagent.net.port.connect import connect_port
from pagent.net.port.connection import PortConnection
from pagent.net.read_budget import READ_MUCH, TURN_BYTES, ReadBudget, current_budget
from tests.kit.ends import QuietUser, connected
from tests.kit.peer import PATIENCE_S

PIECE = TURN_BYTES // 4


class User(QuietUser):
    """Whose connection it is; all users of a test share the list of what they got, in its order."""

    def __init__(self, name: str, heard: list[tuple[str, int]], enough: asyncio.Event | None = None) -> None:
        self.name = name
        self.heard = heard
        self.enough = enough

    def port_data(self, data: bytes) -> None:
        self.heard.append((self.name, len(data)))
        if self.enough is not None:
            self.enough.set()


class Named:
    """A reader; all of a test share the list of those that went on."""

    def __init__(self, name: str = "", went_on: list[str] | None = None) -> None:
        self.name = name
        self.went_on = went_on if went_on is not None else []

    def resume(self) -> None:
        self.went_on.append(self.name)


async def test_what_bulk_reads_in_one_turn_is_bounded() -> None:
    budget = ReadBudget()
    went_on: list[str] = []
    for _ in range(TURN_BYTES // PIECE - 1):
        assert not budget.spend(PIECE, Named("never", went_on))
    assert budget.spend(PIECE, Named("first", went_on))
    assert budget.spend(READ_MUCH, Named("second", went_on))
    assert not budget.spend(READ_MUCH - 1, Named("small", went_on))
    assert went_on == []
    await asyncio.sleep(0)
    assert went_on == ["first", "second"]
    assert not budget.spend(PIECE, Named())


async def test_one_for_a_loop() -> None:
    assert current_budget() is current_budget()

    def other() -> ReadBudget:
        async def theirs() -> ReadBudget:
            return current_budget()

        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(theirs())

    assert await asyncio.to_thread(other) is not current_budget()


async def test_a_small_answer_comes_before_the_end_of_what_a_bulk_one_has_ready(listener: socket.socket) -> None:
    heard: list[tuple[str, int]] = []
    enough = asyncio.Event()
    pairs = []
    for user in (User("bulk", heard), User("small", heard, enough)):
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
    assert sent > 2 * TURN_BYTES
    small_job.send(b"answer")
    bulk.resume_reading()
    small.resume_reading()
    async with asyncio.timeout(PATIENCE_S):
        await enough.wait()
    before = sum(size for name, size in heard if name == "bulk")
    assert before <= TURN_BYTES + PIECE
    assert before < sent
    for connection, job in pairs:
        connection.abort()
        job.close()


class Ready:
    """A connection, and whether it reads, while all that it is given is bulk."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.connection, self.transport = connected(User("bulk", self.heard))

    def read(self, connection: PortConnection) -> None:
        for _ in range(2 * TURN_BYTES // READ_MUCH):
            if self.transport.reading:
                connection.data_received(bytes(READ_MUCH))


async def test_who_has_had_enough_reads_on_in_the_next_turn() -> None:
    ready = Ready()
    ready.read(ready.connection)
    assert sum(size for _, size in ready.heard) == TURN_BYTES
    await asyncio.sleep(0)
    assert ready.transport.reading


async def test_not_if_its_user_has_paused_it_meanwhile() -> None:
    ready = Ready()
    ready.read(ready.connection)
    ready.connection.pause_reading()
    await asyncio.sleep(0)
    assert not ready.transport.reading
    ready.connection.resume_reading()
    assert ready.transport.reading


async def test_a_user_that_goes_on_does_not_get_more_of_the_turn() -> None:
    ready = Ready()
    ready.read(ready.connection)
    ready.connection.pause_reading()
    ready.connection.resume_reading()
    assert not ready.transport.reading
    await asyncio.sleep(0)
    assert ready.transport.reading


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_one_that_is_closed_meanwhile(end: str) -> None:
    ready = Ready()
    ready.read(ready.connection)
    getattr(ready.connection, end)()
    await asyncio.sleep(0)
    assert not ready.transport.reading
