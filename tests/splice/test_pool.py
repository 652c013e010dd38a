"""Kept connections: which one is taken, how long they are kept, and their ends."""

from __future__ import annotations

import asyncio

import pytest

from pagent.limits import IDLE_PER_PORT, IDLE_TIMEOUT_S
from pagent.net.port.connection import PortConnection
from pagent.splice.jobport import IdleConnections, JobPort
from pagent.splice.pool import KEPT_PROVEN, ROOM_PAUSE_S, UNANSWERED_S, Pool
from tests.kit.ends import HandLoop, MemoryPort, connected
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually


class User:
    """The user of a connection; its callbacks in order."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def port_data(self, data: bytes) -> None:
        self.events.append(data)

    def port_eof(self) -> None:
        self.events.append("eof")

    def port_blocked(self) -> None:
        self.events.append("blocked")

    def port_writable(self) -> None:
        self.events.append("writable")

    def port_lost(self, error: Exception | None) -> None:
        self.events.append("lost")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> HandLoop:
    """The loop of pools that are made from now on."""
    hand = HandLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: hand)
    return hand


def new_pool(port: int = 1, most: int = 1 << 20) -> Pool:
    return Pool(JobPort(port, IdleConnections(most)))


def given(pool: Pool, count: int = 1) -> list[tuple[PortConnection, MemoryPort]]:
    """Connections that the pool has, oldest first."""
    pairs = [connected(User()) for _ in range(count)]
    for connection, _ in pairs:
        pool.give(connection)
    return pairs


def test_the_newest_is_taken_first(loop: HandLoop) -> None:
    pool = new_pool()
    pairs = given(pool, 3)
    user = User()
    taken = [pool.take(user, repeatable=True) for _ in range(4)]
    assert taken == [connection for connection, _ in reversed(pairs)] + [None]
    assert all(connection.user is user for connection, _ in pairs)
    assert len(pool) == 0


def test_each_goes_at_its_own_age(loop: HandLoop) -> None:
    pool = new_pool()
    [(_, old)] = given(pool)
    loop.advance(IDLE_TIMEOUT_S / 2)
    [(_, new)] = given(pool)
    loop.advance(IDLE_TIMEOUT_S / 2)
    assert [old.closing, new.closing, len(pool)] == [True, False, 1]
    loop.advance(IDLE_TIMEOUT_S / 2)
    assert [old.closing, new.closing, len(pool)] == [True, True, 0]
    assert not loop.pending


def test_one_that_is_used_again_and_again_does_not_grow_old(loop: HandLoop) -> None:
    pool = new_pool()
    [(connection, transport), (_, unused)] = reversed(given(pool, 2))
    for _ in range(4):
        assert pool.take(User(), repeatable=True) is connection
        loop.advance(IDLE_TIMEOUT_S / 2)
        pool.give(connection)
    assert unused.closing
    assert not transport.is_closing()


def test_an_empty_pool_sweeps_again_once_it_has_something(loop: HandLoop) -> None:
    pool = new_pool()
    given(pool)
    assert pool.take(User(), repeatable=True)
    loop.advance(2 * IDLE_TIMEOUT_S)
    assert not loop.pending
    [(_, transport)] = given(pool)
    loop.advance(IDLE_TIMEOUT_S)
    assert transport.closing


def test_no_more_are_kept_than_the_limit(loop: HandLoop) -> None:
    pool = new_pool()
    pairs = given(pool, IDLE_PER_PORT + 1)
    assert len(pool) == IDLE_PER_PORT
    assert [transport.closing for _, transport in pairs] == [False] * IDLE_PER_PORT + [True]


def test_bytes_without_a_request_end_an_idle_connection(loop: HandLoop) -> None:
    """They would be taken for the answer to the next request."""
    pool = new_pool()
    [(connection, transport)] = given(pool)
    connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert transport.aborted
    assert pool.take(User(), repeatable=True) is None


def test_an_idle_connection_that_the_job_ends_is_not_taken(loop: HandLoop) -> None:
    pool = new_pool()
    [(ended, transport), (reset, _)] = given(pool, 2)
    ended.eof_received()
    reset.connection_lost(None)
    assert transport.closing
    assert pool.take(User(), repeatable=True) is None


def test_closing_drops_all_and_keeps_no_more(loop: HandLoop) -> None:
    pool = new_pool()
    pairs = given(pool, 3)
    pool.close()
    pairs += given(pool)
    assert [(each.aborted, each.closing) for _, each in pairs] == [(True, False)] * 3 + [(False, True)]
    assert len(pool) == 0
    assert not loop.pending


class Job:
    """A real port; its connections come out of ``accepted``."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait(writer)


@pytest.mark.parametrize("data", [b"", b"something"])
async def test_the_kernel_knows_of_an_end_that_the_loop_has_not_seen(data: bytes) -> None:
    job = Job()
    server = await asyncio.start_server(job.serve, "127.0.0.1", 0)
    pool = new_pool(server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(PATIENCE_S):
            connection = await pool.connect(User())
            writer = await job.accepted.get()
        assert not connection.is_stale()
        connection.pause_reading()  # the loop does not see later events
        pool.give(connection)
        if data:
            writer.write(data)
        else:
            writer.write_eof()
        await eventually(connection.is_stale)
        assert pool.take(User(), repeatable=False) is None
        assert connection.closed
        assert len(pool) == 0
        writer.close()
    finally:
        pool.close()
        server.close()


async def test_a_port_without_a_listener() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await new_pool(port).connect(User())


# --- which requests, and for which connections are closed ---------------------------------------------------


def test_what_may_not_be_repeated_takes_the_place_of_an_idle_one(loop: HandLoop) -> None:
    pool = new_pool()
    [(_, old), (_, new)] = given(pool, 2)
    assert pool.take(User(), repeatable=False) is None
    assert [old.closing, new.closing, len(pool)] == [True, False, 1]


def test_a_port_that_has_closed_one_unannounced_is_not_proven_again(loop: HandLoop) -> None:
    pool = new_pool()
    [(connection, _)] = given(pool)
    for _ in range(KEPT_PROVEN):
        assert pool.take(User(), repeatable=True) is connection
        pool.give(connection)
    pool.closed_unannounced()
    assert pool.take(User(), repeatable=False) is None


def test_an_idle_connection_is_closed_for_a_new_one_that_is_not_answered(loop: HandLoop) -> None:
    pool = new_pool()
    pairs = given(pool, 3)
    pool.asked(User())
    loop.advance(UNANSWERED_S * 0.9)
    assert len(pool) == 3
    loop.advance(UNANSWERED_S * 0.2)
    assert [transport.closing for _, transport in pairs] == [True, False, False]
    loop.advance(1.0)
    assert len(pool) == 2  # one for each, however long it waits


def test_none_is_closed_for_a_new_one_that_is_answered_in_time(loop: HandLoop) -> None:
    pool = new_pool()
    given(pool, 3)
    users = [User() for _ in range(3)]
    for user in users:
        pool.asked(user)
    loop.advance(UNANSWERED_S / 2)
    for user in users:
        pool.answered(user)
    loop.advance(1.0)
    assert len(pool) == 3
    assert not [1 for each in users if each.events]


def test_several_that_wait_are_given_room_one_after_the_other(loop: HandLoop) -> None:
    pool = new_pool()
    given(pool, 5)
    for _ in range(3):
        pool.asked(User())
    loop.advance(UNANSWERED_S)
    assert len(pool) == 4
    loop.advance(2 * ROOM_PAUSE_S)
    assert len(pool) == 2
    loop.advance(1.0)
    assert len(pool) == 2


def test_a_connection_that_comes_back_makes_room_at_most_once_in_a_while(loop: HandLoop) -> None:
    """So that connections of a port that is slow for all of them are kept."""
    pool = new_pool()
    for _ in range(40):
        pool.asked(User())
    loop.advance(UNANSWERED_S)
    busy = [connected(User()) for _ in range(40)]
    for connection, _ in busy:
        pool.give(connection)
        assert pool.take(User(), repeatable=True) in (connection, None)
    assert sum(transport.closing for _, transport in busy) == 1


def test_a_closed_pool_has_no_timer(loop: HandLoop) -> None:
    pool = new_pool()
    pool.asked(User())
    pool.close()
    pool.asked(User())
    assert not loop.pending


# --- all pools together ------------------------------------------------------------------------------------


def test_the_oldest_of_all_pools_are_closed_where_there_are_too_many(loop: HandLoop) -> None:
    idle = IdleConnections(16)
    one, two = Pool(JobPort(1, idle)), Pool(JobPort(2, idle))
    order = []
    for number in range(17):
        order += given(one if number % 3 else two)
        loop.advance(0.01)
    assert [transport.closing for _, transport in order] == [True] * 3 + [False] * 14
    assert idle.count == len(one) + len(two) == 14


def test_what_leaves_a_pool_is_not_counted(loop: HandLoop) -> None:
    idle = IdleConnections(100)
    pool = Pool(JobPort(1, idle))
    pairs = given(pool, 6)
    pairs[0][0].eof_received()
    pairs[1][0].data_received(b"x")
    assert pool.take(User(), repeatable=True) is not None
    assert idle.count == len(pool) == 3
    assert idle.close_oldest(2) == 2
    assert idle.count == len(pool) == 1
    pool.close()
    assert (idle.count, idle.close_oldest(1)) == (0, 0)
