"""What connections read in one turn of the loop: a bulk one does not keep the others waiting."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

import pytest

from pagent.limits import CROWD, LABOUR_TURN, READ_BULK, READ_MUCH, TURN_BYTES
from pagent.net.port import PortConnection, connect_port
from pagent.net.turns import Turns, current_turns
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

    def go_on(self) -> None:
        self.went_on.append(self.name)


async def test_what_bulk_reads_in_one_turn_is_bounded() -> None:
    turns = Turns()
    went_on: list[str] = []
    for _ in range(TURN_BYTES // PIECE - 1):
        assert not turns.spend(PIECE, Named("never", went_on))
    assert turns.spend(PIECE, Named("first", went_on))
    assert turns.spend(READ_MUCH, Named("second", went_on))
    assert not turns.spend(READ_MUCH - 1, Named("small", went_on))
    assert went_on == []
    await asyncio.sleep(0)
    assert went_on == ["first", "second"]
    assert not turns.spend(PIECE, Named())


@pytest.mark.parametrize(("readers", "crowd"), [(1, False), (CROWD - 1, False), (CROWD, True), (50, True)])
async def test_many_that_read_bulk_in_one_turn_are_a_crowd(readers: int, crowd: bool) -> None:
    turns = Turns()
    several = [Named() for _ in range(readers)]
    for reader in several:
        turns.spend(READ_BULK, reader)
        turns.spend(READ_BULK, reader)
        turns.spend(READ_BULK - 1, Named())
    assert not turns.crowd
    await asyncio.sleep(0)
    assert turns.crowd is crowd
    turns.spend(READ_BULK, several[0])
    await asyncio.sleep(0)
    assert not turns.crowd


async def test_what_is_to_be_done_once_what_was_received_has_been_dealt_with() -> None:
    turns = Turns()
    done: list[str] = []
    assert not turns.afterwards(lambda: done.append("never"))
    turns.begin()
    assert turns.afterwards(lambda: done.append("first"))
    assert turns.afterwards(lambda: done.append("second"))
    assert done == []
    turns.finish()
    assert done == ["first", "second"]
    assert not turns.afterwards(lambda: done.append("never"))
    turns.begin()
    turns.finish()
    assert done == ["first", "second"]


async def test_one_for_a_loop() -> None:
    assert current_turns() is current_turns()

    def other() -> Turns:
        async def theirs() -> Turns:
            return current_turns()

        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(theirs())

    assert await asyncio.to_thread(other) is not current_turns()


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


# --- work that was left ------------------------------------------------------------------------------


async def test_what_was_left_has_its_turns_one_after_the_other() -> None:
    turns = Turns()
    done: list[str] = []

    def work(name: str, times: int) -> None:
        done.append(name)
        if times > 1:
            turns.later(partial(work, name, times - 1), LABOUR_TURN // 2)

    for name in "abc":
        turns.later(partial(work, name, 3), LABOUR_TURN)
    assert done == []
    rounds = []
    while len(done) < 9:
        await asyncio.sleep(0)
        rounds.append("".join(done))
    # Two are as much as a turn has; who comes too late for it is the first of the next.
    assert rounds == ["ab", "abca", "abcabc", "abcabcabc"]


async def test_work_that_fails_stops_no_other() -> None:
    turns = Turns()
    done: list[str] = []
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    turns.later(partial(int, "x"), 0)
    turns.later(partial(done.append, "other"), 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["other"]
    assert [type(context["exception"]) for context in failed] == [ValueError]
