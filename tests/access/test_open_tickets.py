"""Connections of tickets: which of them are closed, and when."""

from __future__ import annotations

import asyncio
import time

from pagent.access.open_tickets import OpenTickets
from pagent.access.signed import SigningKeys, key_id_of


async def test_open_tickets() -> None:
    closed: list[str] = []
    keys = SigningKeys([b"1" * 32])
    key = key_id_of(keys.sign("", b""))
    tickets, late = OpenTickets(), time.time() + 100
    first = tickets.open("1", key, late, lambda: closed.append("first"))
    tickets.open("1", "gone", late, lambda: closed.append("of a key that is gone"))
    tickets.open("2", key, time.time() - 1, lambda: closed.append("late"))
    tickets.keep(keys)
    assert closed == ["of a key that is gone"]
    await asyncio.sleep(0.01)
    assert closed[1:] == ["late"]
    tickets.end("unknown")
    tickets.end("1")
    assert closed[2:] == ["first"]
    first.release()
    tickets.end("1")
    assert len(closed) == 3


async def test_a_connection_is_closed_once() -> None:
    """A close releases its lease, and may open the ticket again: neither is closed a second time."""
    tickets, late = OpenTickets(), time.time() + 100
    closed: list[str] = []

    def close() -> None:
        closed.append("first")
        lease.release()
        tickets.open("1", "key", late, lambda: closed.append("again"))

    lease = tickets.open("1", "key", late, close)
    tickets.open("1", "key", late, lambda: closed.append("second"))
    tickets.end("1")
    assert sorted(closed) == ["first", "second"]
    lease.release()
    tickets.end("1")
    assert sorted(closed) == ["again", "first", "second"]


async def test_a_ticket_that_was_released_does_not_end_the_next_connection() -> None:
    tickets = OpenTickets()
    tickets.open("1", "key", time.time() + 0.01, lambda: None).release()
    closed = asyncio.Event()
    lease = tickets.open("1", "key", time.time() + 100, closed.set)
    await asyncio.sleep(0.05)
    assert not closed.is_set()
    lease.release()
