"""The table of tickets by histories of notes, whatever an agent has put into them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pagent.access.ticket import Ticket, end_note, ticket_note, used_note
from pagent.access.ticket_table import TicketTable
from pagent.rpc.directory import Creator

TICKET = Ticket("1", "job", (80, 81), "Ann", None, True, Creator("portal", False), 1000, 2000)
NOTE = ticket_note("1")


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


@pytest.mark.parametrize("name", ["", "pagent/ticket", "pagent/tickets/1", "pagent/asks"])
def test_notes_of_others(name: str) -> None:
    assert TicketTable(lambda ticket: None).take("job", name, TICKET.to_note()) is None
