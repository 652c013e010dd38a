"""The table of tickets by histories of notes, whatever an agent has put into them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access.open_tickets import OpenTickets
from pagent.access.signed import SigningKeys, key_id_of
from pagent.access.ticket import Ticket, end_note, read_ticket, ticket_note, time_text, used_note
from pagent.access.ticket_table import TicketTable
from pagent.rpc.directory import Creator

TICKET = Ticket("1", "job", (80, 81), "Ann", None, True, Creator("portal", False), 1000, 2000)
NOTE = ticket_note("1")


def test_the_note_of_a_ticket() -> None:
    for ticket in (TICKET, TICKET._replace(subject=None, note="x", creator=None, ports=())):
        assert read_ticket("job", NOTE, ticket.to_note()) == ticket
    assert TICKET.name == "Ann"
    assert TICKET._replace(subject=None).name == "portal"
    assert TICKET._replace(subject=None, creator=None).name == "ticket 1"
    assert TICKET.view()["expires_at"] == "1970-01-01T00:33:20Z"
    assert time_text(10**20) == time_text(-(10**20)) == "9999-12-31T23:59:59Z"


@given(st.binary(max_size=50) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=8), max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_other_note_is_none(value: bytes) -> None:
    assert read_ticket("job", NOTE, value) is None or json.loads(value)[0] is not None


def test_histories() -> None:
    over: list[str] = []
    table = TicketTable(over.append)
    note, gone = TICKET._replace(expires=int(time.time()) + 100).to_note(), None

    def take(*changes: tuple[str, bytes | None]) -> list[Any]:
        events = [table.take("job", name, value) for name, value in changes]
        return [None if event is None else event.is_revoked for event in events]

    # The agent repeats what this router has put, and the note is put again when a browser enters.
    assert take((NOTE, note), (NOTE, note), (used_note("1", None), b""), ("other", b"x")) == [False, None, None, None]
    assert [ticket.id for ticket in table] == [ticket.id for ticket in table.of("job")] == ["1"]
    assert not table.is_over("job", "1")
    assert take((NOTE, gone), (NOTE, gone)) == [None, None]
    assert (table.is_over("job", "1"), over, table.of("job")) == (True, ["1"], [])
    # It was put again in the moment of its end.
    assert take((NOTE, note)) == [False]
    assert not table.is_over("job", "1")
    assert take((end_note("1"), b""), (end_note("1"), b""), (NOTE, note), (NOTE, gone)) == [True, None, None, None]
    assert table.is_over("job", "1")
    assert take((end_note("2"), b""), (end_note("1"), gone)) == [None, None]
    assert table.is_over("job", "2")
    assert not table.is_over("another", "2")
    table.forget("job")
    assert not table.is_over("job", "2")


async def test_waiting_for_a_note() -> None:
    table = TicketTable(lambda ticket: None)
    assert await table.when_known("job", "1", 0.01) is None
    waits = [asyncio.ensure_future(table.when_known("job", "1", 10)) for _ in range(3)]
    await asyncio.sleep(0)
    waits[0].cancel()
    table.take("job", NOTE, TICKET.to_note())
    assert await waits[1] == await waits[2] == TICKET
    table.take("job", end_note("1"), b"")
    assert await table.when_known("job", "1", 10) is None


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


@pytest.mark.parametrize("name", ["", "pagent/ticket", "pagent/tickets/1", "pagent/asks"])
def test_notes_of_others(name: str) -> None:
    assert TicketTable(lambda ticket: None).take("job", name, TICKET.to_note()) is None
