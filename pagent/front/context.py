"""The state that all connections of a router's users share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from pagent.config.router import RouterControl
from pagent.errors import RequestRefusedError
from pagent.front.answers import error_answer, takes_page
from pagent.front.deadlines import Deadlines
from pagent.front.exchange import Exchange
from pagent.front.exchange_user import ExchangeUser
from pagent.front.field import FieldExchange
from pagent.front.forwarded import TrustedProxies, add_forwarded_fields, plain_address
from pagent.front.proxy_header import ProxyHeader
from pagent.front.raw import RawExchange
from pagent.front.routes import JobTarget, Route, job_target
from pagent.front.spools import FrontSpools
from pagent.front.websocket import WebSocketExchange
from pagent.http1.incoming import IncomingHead
from pagent.net.port.connection import PortConnection
from pagent.rpc.directory import AgentLink, Client, Directory, RequestGate
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

_PROXY: Final = "proxy"

#: Makes the protocol that takes over a connection, for a request that is no traffic to a job. It gets the bytes of the
#: head and all that was read after it; the request is the last one of its connection.
Fallback = Callable[[IncomingHead, Client], asyncio.Protocol]


class Site(NamedTuple):
    """The settings of a further listener that differ from those of ``control``.

    ``route`` finds the job of a request, or refuses it, and ``gate`` is asked for ``operation``. ``fallback`` takes
    over the connections of requests that are for no job.
    """

    route: Callable[[IncomingHead], JobTarget | None]
    operation: str
    gate: RequestGate
    fallback: Fallback
    proxy_protocol: bool


class FrontContext:
    """The router's parts, the limits, the shared deadlines and tasks.

    ValueError if a trusted proxy is neither an address nor a network.
    """

    def __init__(
        self,
        directory: Directory,
        gate: RequestGate,
        fallback: Fallback,
        settings: RouterControl,
        spools: FrontSpools,
    ) -> None:
        # For life.
        self.route: Route = job_target
        self.operation = _PROXY
        self.directory = directory
        self.gate = gate
        self.fallback = fallback
        self.head_s = settings.head_s
        self.body_s = settings.body_s
        self.access_log = settings.access_log
        self.proxy_protocol = settings.proxy_protocol
        self._trusted = TrustedProxies(settings.trusted_proxies)
        self._settings = settings
        self._spools = spools
        # While open.
        self.deadlines = Deadlines(settings.idle_s, min(self.head_s, self.body_s))
        self.tasks = TaskOwner("front")
        self._warned = False

    def of(self, site: Site) -> FrontContext:
        """Return the context of a further listener, which shares the rest."""
        other = FrontContext(self.directory, site.gate, site.fallback, self._settings, self._spools)
        other.route = site.route
        other.operation = site.operation
        other.proxy_protocol = site.proxy_protocol
        other.deadlines = self.deadlines
        other.tasks = self.tasks
        return other

    async def drain(self, over: asyncio.Event) -> None:
        """Let the requests under way end, until ``over`` is set; close idle connections and tunnels."""
        await self.deadlines.drain(over)

    async def close(self) -> None:
        """Drop all connections."""
        self.deadlines.drop_all()
        await self.tasks.close()

    def trusts(self, address: str) -> bool:
        """Return whether the peer at this IP address is a trusted proxy."""
        return self._trusted.holds(address)

    def client_of(self, port: PortConnection, proxied: ProxyHeader | None) -> Client:
        """Return the client of a new connection: the peer of its socket, or the one that ``proxied`` names."""
        peer, own = port.info("peername"), port.info("sockname")
        if proxied is not None and proxied.address:
            peer = proxied.address, proxied.port
        address = plain_address(peer[0]) if isinstance(peer, tuple) else ""
        return Client(
            address,
            peer[1] if isinstance(peer, tuple) else 0,
            self._trusted.holds(address),
            port.info("sslcontext") is not None,
            own[1] if isinstance(own, tuple) else 0,
        )

    def add_fields(self, head: IncomingHead, client: Client, prefix: str, request_id: str) -> None:
        """Add the router's own fields to those that are sent to a job."""
        if head.forwarded and not client.trusted and not self._warned:
            # The proxy in front is likely not configured.
            self._warned = True
            _log.warning("forwarded fields of %s are dropped: control.trusted_proxies does not list it", client.address)
        add_forwarded_fields(head, client, prefix, request_id)

    def refusal(
        self,
        error: RequestRefusedError,
        head: IncomingHead | None,
        target: JobTarget | None,
        number: str,
        *,
        keep: bool,
    ) -> bytes:
        """Return the answer to a request that gets none of the job: :func:`~pagent.front.answers.error_answer`."""
        if target is not None:
            STATISTICS.responses[error.status // 100] += 1
        state = self.directory.state_of(target.job) if target is not None and takes_page(head) else None
        return error_answer(error, head, number, keep=keep, state=state)

    def exchange(self, user: ExchangeUser, head: IncomingHead, link: AgentLink) -> Exchange:
        """Return the exchange for a request to an agent; RequestRefusedError if it is a bad WebSocket handshake."""
        if link.is_ours:
            return RawExchange(user, head)
        if "websocket" in head.upgrade:
            return WebSocketExchange(user, head, self._spools.opener)
        return FieldExchange(user, head, self._spools.opener)
