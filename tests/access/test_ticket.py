"""The notes that keep a ticket with its job, whatever an agent has put into them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.access.ticket import Ticket, end_note, ended_by, read_ticket, ticket_note, ticket_of, time_text, used_note
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
def test_any_other_note_is_none_or_a_ticket(value: bytes) -> None:
    found = read_ticket("job", NOTE, value)
    assert found is None or read_ticket("job", NOTE, found.to_note()) == found


@pytest.mark.parametrize(
    "change",
    [
        {0: "80"}, {0: ["80"]}, {0: [True]}, {0: None}, {1: 5}, {2: []}, {3: 1}, {3: None}, {4: "portal"},
        {4: ["portal"]}, {4: ["portal", 0]}, {4: [None, True]}, {5: "1000"}, {5: 1.5}, {6: None},
    ],
)  # fmt: skip
def test_a_note_with_a_value_of_another_type_is_none(change: dict[int, object]) -> None:
    value = json.loads(TICKET.to_note())
    for at, other in change.items():
        value[at] = other
    assert read_ticket("job", NOTE, json.dumps(value).encode()) is None
    assert read_ticket("job", NOTE, TICKET.to_note() + b"x") is None
    assert read_ticket("job", NOTE, b"[" * 100_000) is None
    assert read_ticket("job", NOTE, json.dumps([*json.loads(TICKET.to_note()), 1]).encode()) is None


@given(st.text(), st.none() | st.integers(1, 65535))
def test_the_names_of_notes_do_not_overlap(ticket: str, port: int | None) -> None:
    assert (ticket_of(ticket_note(ticket)), ended_by(end_note(ticket))) == (ticket, ticket)
    for name in (end_note(ticket), used_note(ticket, port)):
        assert ticket_of(name) is None
    for name in (ticket_note(ticket), used_note(ticket, port)):
        assert ended_by(name) is None
