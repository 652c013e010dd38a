"""Put together a router's parts for tickets: routes and gate of the apps listener, table, notes and keys."""

from __future__ import annotations

from functools import partial

from pagent.access.gate import AccessGate
from pagent.access.open_tickets import OpenTickets
from pagent.access.operations import APPS
from pagent.access.signed import SigningKeys
from pagent.access.ticket_gate import TicketGate
from pagent.access.ticket_table import TicketTable
from pagent.access.tickets import Tickets
from pagent.config.router import RouterSettings
from pagent.front.apps import AppRoutes
from pagent.front.context import Fallback, Site
from pagent.relay.directory import AgentDirectory
from pagent.relay.notes import KeptNotes
from pagent.rpc.directory import Gate


def advice(settings: RouterSettings, job_uid: str, port: int) -> str:
    """Return how a browser reaches a job of a router without the apps listener."""
    if settings.control.enabled:
        return f"apps.enabled is not set; control serves it below /jobs/-/{job_uid}/http/"
    return (  # the dashboard of an agent
        f"on the machine of the agent it is at http://127.0.0.1:{port}/; from elsewhere:"
        f" pagent forward --agent HOST:PORT {job_uid}"
    )


class Ticketing:
    """The apps listener's side of a router. ConfigError if a setting cannot be used.

    :param keys: None for a random key of this process.
    :param loopback: whether the listener is on the loopback only.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        settings: RouterSettings,
        gate: Gate,
        keys: SigningKeys | None,
        *,
        loopback: bool,
    ) -> None:
        # For life.
        self._random = SigningKeys.random()
        self._directory = directory
        self._proxy_protocol = settings.apps.proxy_protocol
        self._open = OpenTickets()
        self.pages = AppRoutes(settings.apps)
        table = TicketTable(self._open.end)
        self._notes = KeptNotes(directory, table)
        self.tickets = Tickets(
            keys or self._random, table, directory, self._notes, gate, self.pages, partial(advice, settings)
        )
        inner = gate if gate.is_closed else AccessGate(loopback=loopback, allowed_hosts=(), beyond=settings.access.open)
        self.gate = TicketGate(inner, directory, self.tickets, self._open, self.pages)

    def site(self, fallback: Fallback) -> Site:
        """Return the site of the apps listener; ``fallback`` takes over requests to enter with a ticket."""
        return Site(self.pages.route, APPS, self.gate, fallback, self._proxy_protocol)

    def renew(self, keys: SigningKeys | None) -> None:
        """Use other keys, and end the tickets whose creators may not open their jobs any more."""
        self.tickets.keys = keys or self._random
        self._open.keep(self.tickets.keys)
        self._directory.tasks.start(self.tickets.end_unbacked(), name="end the tickets of revoked tokens")

    def close(self) -> None:
        """Follow the notes of jobs no more."""
        self._notes.close()
