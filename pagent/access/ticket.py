"""A ticket, and the notes that keep it with its job (docs/access.rst, "Tickets").

The job's agent keeps three kinds of notes: the ticket, a code that was used, and the end of a ticket that was revoked.
So every router of the site knows them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pagent.rfc3339 import utc_text
from pagent.rpc.directory import Creator

_TICKET: Final = "pagent/ticket/"
_END: Final = "pagent/ticket-end/"
_USED: Final = "pagent/ticket-used/"

#: Seconds by which the clocks of the routers of a site may differ.
CLOCK_SKEW_S: Final = 60


class Ticket(NamedTuple):
    """``subject``: on whose behalf its requests are made; ``creator``: None in an open router. Times are epoch seconds.

    ``note`` is the creator's own text.
    """

    id: str
    job: str
    ports: tuple[int, ...]
    subject: str | None
    note: str | None
    embed: bool
    creator: Creator | None
    issued: int
    expires: int

    @property
    def name(self) -> str:
        """Return the name that logs have for its requests."""
        return self.subject or (self.creator.name if self.creator is not None else f"ticket {self.id}")

    @property
    def age(self) -> tuple[float, str]:
        """Return the key that orders tickets."""
        return float(self.issued), self.id

    def to_note(self) -> bytes:
        """Return the value of its note."""
        return json.dumps(self[2:], separators=(",", ":")).encode()

    def view(self) -> Mapping[str, Any]:
        """Return it as the API answers it."""
        return {
            "id": self.id,
            "job": self.job,
            "ports": [*self.ports],
            "subject": self.subject,
            "note": self.note,
            "embed": self.embed,
            "created_by": self.creator.name if self.creator is not None else None,
            "created_at": time_text(self.issued),
            "expires_at": time_text(self.expires),
        }


def read_ticket(job: str, name: str, value: bytes) -> Ticket | None:
    """Return the ticket of a note; None if the value is none. Agents keep notes, and could change them."""
    try:
        match json.loads(value):
            case [
                [*ports],
                (str() | None) as subject,
                (str() | None) as note,
                bool(embed),
                creator,
                int(issued),
                int(expires),
            ] if all(type(port) is int for port in ports):
                return Ticket(
                    name.removeprefix(_TICKET),
                    job,
                    tuple(ports),
                    subject,
                    note,
                    embed,
                    _read_creator(creator),
                    issued,
                    expires,
                )
    except (ValueError, RecursionError):
        pass
    return None


def _read_creator(value: Any) -> Creator | None:
    match value:
        case None:
            return None
        case [str(name), bool(is_user)]:
            return Creator(name, is_user)
    raise ValueError("not the creator of a ticket")


def ticket_note(ticket_id: str) -> str:
    """Return the name of the note of a ticket."""
    return _TICKET + ticket_id


def end_note(ticket_id: str) -> str:
    """Return the name of the note that says that a ticket was revoked."""
    return _END + ticket_id


def used_note(ticket_id: str, port: int | None) -> str:
    """Return the name of the note that says that the code for a port, None for the main one, was used."""
    return f"{_USED}{ticket_id}/{port or 0}"


def ticket_of(note: str) -> str | None:
    """Return the id of the ticket that a note has; None for another note."""
    return note.removeprefix(_TICKET) if note.startswith(_TICKET) else None


def ended_by(note: str) -> str | None:
    """Return the id of the ticket that a note ends; None for another note."""
    return note.removeprefix(_END) if note.startswith(_END) else None


def time_text(seconds: int) -> str:
    """Return a time in RFC 3339; that of a note which is in no calendar is the end of the calendar."""
    try:
        return utc_text(seconds, "auto")
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59Z"
