"""The access to a router's dashboard: its gate, and the tokens that are valid there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from pagent.access.closed import ClosedGate
from pagent.access.dashboard import dashboard_table, served_hosts
from pagent.access.gate import BEYOND
from pagent.access.hosts import is_loopback_interface
from pagent.access.operations import UNROUTED
from pagent.access.tokens import AccessTable
from pagent.config.router import RouterSettings
from pagent.errors import ConfigError
from pagent.front.context import Fallback, Site
from pagent.relay.directory import AgentDirectory
from pagent.rpc.directory import Gate

_SECRET_BYTES: Final = 24


class DashboardAccess:
    """The gate of the dashboard. In a closed router that is the gate of all its listeners.

    :param tokens: those of ``dashboard.token_file``; None if there is no file, so that a random token is made.
    :param further: returns tokens that are valid as well; if there are any, a request needs one to read, too.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        settings: RouterSettings,
        gate: Gate,
        tokens: Sequence[str] | None,
        further: Callable[[], Sequence[str]],
    ) -> None:
        # For life.
        self._further = further
        self._own: ClosedGate | None = None
        self._is_refused = False
        #: The random token of this start; None if there is a file of tokens, or the router is closed.
        self.secret: Final = None if gate.is_closed or tokens is not None else secrets.token_urlsafe(_SECRET_BYTES)
        if gate.is_closed:
            if tokens is not None:
                raise ConfigError("dashboard.token_file: the router is closed, so the tokens of access are valid there")
            self.gate = gate
            return
        is_loopback = is_loopback_interface(settings.dashboard.interface)
        self._is_refused = not (is_loopback or settings.access.open)
        self._own = self.gate = ClosedGate(
            directory,
            self._table(tokens),
            is_served=served_hosts(settings.control.allowed_hosts) if is_loopback else None,
            refusal=BEYOND if self._is_refused else "",
        )

    def _table(self, tokens: Sequence[str] | None) -> AccessTable:
        own = [self.secret] if self.secret is not None else tokens or []
        further = self._further()
        return dashboard_table([*own, *further], anonymous_reads=not further)

    def renew(self, tokens: Sequence[str] | None) -> None:
        """Use other tokens; end the requests of those that are gone."""
        if self._own is not None:
            self._own.renew(self._table(tokens))

    def describe_beyond(self, listener: str) -> str:
        """Return the warning on a dashboard that other machines can reach, for the log of an open router."""
        if self._is_refused:
            return f"{listener} answers with 403: {BEYOND}"
        return f"every client that reaches {listener} may read all jobs, since access.open is set"

    def site(self, fallback: Fallback) -> Site:
        """Return the site of the listener. It carries no traffic of jobs, so that no page of a job has its origin."""
        return Site(lambda head: None, UNROUTED, self.gate, fallback, proxy_protocol=False)

    def close(self) -> None:
        """Look at no more tokens for their end."""
        if self._own is not None:
            self._own.close()
