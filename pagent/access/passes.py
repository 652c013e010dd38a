"""The contents of a ticket's cookie, and of the code in an address: both are signed values."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from pagent.access.signed import SigningKeys
from pagent.access.ticket import CLOCK_SKEW_S

_PASS: Final = "ticket"
_CODE: Final = "ticket code"


class TicketPass(NamedTuple):
    """Lets one browser use a job at one place. Times are epoch seconds."""

    place: str
    agent: str
    job: str
    ports: tuple[int, ...]
    subject: str
    ticket: str
    issued: int
    expires: int

    def is_timely(self, now: float, leeway_s: int) -> bool:
        """Return whether it is valid now; ``leeway_s``: how much the clock of the router that made it may be ahead."""
        return self.issued - CLOCK_SKEW_S <= now < self.expires + leeway_s


class EntryCode(NamedTuple):
    """Is exchanged for a pass, once, until ``until``. ``embed``: in a frame of another site."""

    entry: TicketPass
    embed: bool
    until: int


def sign_pass(keys: SigningKeys, entry: TicketPass) -> str:
    """Return the value of a cookie."""
    return keys.sign(_PASS, _dumps([*entry]))


def sign_code(keys: SigningKeys, code: EntryCode) -> str:
    """Return the code for an address."""
    return keys.sign(_CODE, _dumps([[*code.entry], code.embed, code.until]))


def read_pass(keys: SigningKeys, value: str) -> TicketPass | None:
    """Return the contents of a cookie; None if it is not valid. The expiry is not checked."""
    content = keys.verify(_PASS, value)
    return None if content is None else _pass_of(_loads(content))


def read_code(keys: SigningKeys, value: str) -> EntryCode | None:
    """Return the contents of a code; None if it is not valid. The expiry is not checked."""
    content = keys.verify(_CODE, value)
    match None if content is None else _loads(content):
        case [entry, bool(embed), int(until)]:
            found = _pass_of(entry)
            return None if found is None else EntryCode(found, embed, until)
    return None


def _pass_of(value: Any) -> TicketPass | None:
    """Return the pass in a signed value. A router of another release may have signed it."""
    match value:
        case [
            str(place),
            str(agent),
            str(job),
            [*ports],
            str(subject),
            str(ticket),
            int(issued),
            int(expires),
        ] if all(type(port) is int for port in ports):
            return TicketPass(place, agent, job, tuple(ports), subject, ticket, issued, expires)
    return None


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
