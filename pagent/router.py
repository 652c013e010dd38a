"""The router: puts its parts together, starts them and ends them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

from pagent import __version__
from pagent.access.closed import ClosedGate
from pagent.access.dialling import LOOPBACK, DialRules
from pagent.access.gate import AccessGate
from pagent.access.hosts import ProxyHosts, is_loopback_interface
from pagent.config.router import RouterSettings
from pagent.errors import ConfigError
from pagent.front.server import FrontServer
from pagent.front.spools import FrontSpools
from pagent.limits import CALLS_PER_CLIENT
from pagent.net.dial import Address
from pagent.relay.admission import AgentAdmission
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.client_links import ClientLinks
from pagent.relay.credentials import RouterCredentials, load_credentials
from pagent.relay.dashboard import DashboardAccess
from pagent.relay.dialling import AgentDialler
from pagent.relay.directory import AgentDirectory
from pagent.relay.live import LiveFigures
from pagent.relay.metrics import router_metrics
from pagent.relay.pools.addresses import server_addresses
from pagent.relay.pools.pools import Pools
from pagent.relay.reminder import remind_of_open
from pagent.relay.routes import RelayRoutes
from pagent.relay.sampling import Sampling
from pagent.relay.service import RelayService
from pagent.relay.ticketing import Ticketing
from pagent.rpc.connection import Connection
from pagent.rpc.directory import Subject
from pagent.runtime.descriptors import open_limit, raise_limit
from pagent.runtime.loop_lag import LoopLag
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.rereading import Rereading
from pagent.runtime.tasks import TaskOwner
from pagent.web.client_listener import ClientListener
from pagent.web.dashboard.app import dashboard_app
from pagent.web.enter_app import enter_app
from pagent.web.router_app import router_app
from pagent.web.rpc_app import rpc_app
from pagent.web.server import WebServer
from pagent.web.v1.event_feed import EventFeed
from pagent.web.wsconnect import WebSocketJoins
from pagent.wire import identity
from pagent.wire.closing import GOING_AWAY

_log = logging.getLogger(__name__)

#: Connections in their handshake take at most this part of the descriptors.
_PENDING_PART: Final = 8


class Router:
    """One router in this process. ``await start()``, then ``await wait()``, then always ``await stop()``.

    :param dashboard_tokens: returns further tokens of the dashboard; if there are any, reading needs one, too.
    :raises ConfigError: from the constructor, if the settings have a value or a file that cannot be used.
    """

    def __init__(
        self,
        settings: RouterSettings,
        *,
        connection_debug: bool = False,
        dashboard_tokens: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        if not (settings.control.enabled or settings.apps.enabled or settings.dashboard.enabled):
            raise ConfigError("neither control nor apps nor dashboard is enabled: there is nothing to do")
        # For life.
        self._debug = connection_debug
        self._settings = settings
        self._credentials = load_credentials(settings)
        self.uid = settings.identity.uid or uuid.uuid4().hex
        self._instance = uuid.uuid4().hex
        self._user_data = _user_data(self.uid, settings.identity.name)
        spools = FrontSpools(settings.spool)
        self.directory = AgentDirectory(
            spool=spools.opener,
            linger=settings.jobs.linger,
            ready_wait=settings.ready_wait,
            dialled_only=not (settings.server.enabled and (self._credentials.accepted or settings.pools)),
        )
        for address, token in self._credentials.dialled.items():
            self.directory.expect((address, token))
        self.figures = LiveFigures(self.directory)
        self.gate = self._closed_gate() or AccessGate(
            loopback=is_loopback_interface(settings.control.interface),
            allowed_hosts=settings.control.allowed_hosts,
            beyond=settings.access.open,
        )
        self.pools = Pools(self.directory, settings.pools, self._credentials.keys, self._server_addresses)
        self._admission = AgentAdmission(
            self.directory,
            self.pools.joins,
            self._credentials,
            user_data=self._user_data,
            instance=self._instance,
            debug=connection_debug,
        )
        self._dialler = AgentDialler(
            self.directory.table,
            self.directory.jobs,
            self.directory.tasks,
            self._admission.dialled,
            settings.client.polling_delay,
        )
        allow = LOOPBACK if settings.dial.allow is None and self.gate.is_closed else settings.dial.allow
        self._apps = Ticketing(
            self.directory,
            settings,
            self.gate,
            self._credentials.keys,
            loopback=is_loopback_interface(settings.apps.interface),
        )
        routes = RelayRoutes(
            self.directory,
            self._dialler,
            self.gate,
            self._apps.tickets,
            self.pools,
            Sampling(self.directory, self.figures, STATISTICS.routed if self._carries_traffic else STATISTICS.proxied),
            uid=self.uid,
            resolve=DialRules(allow).resolve,
            info=lambda: self._user_data,
            metrics=lambda: router_metrics(
                self.directory, self._client_links(), self._front.connections, self.pools.measures
            ),
            end=partial(self.end, 0),
        )
        self._dashboard = DashboardAccess(
            self.directory, settings, self.gate, self._credentials.dashboard, dashboard_tokens
        )
        self._joins = WebSocketJoins(routes, self.gate)
        feed = cache(lambda: EventFeed(routes))  # if there is a listener that has it
        listener = partial(ClientListener, control=settings.control)
        self._control_listener = listener(
            "control",
            settings.control,
            lambda: router_app(routes, self.gate, self._joins, self._connect_clients(), feed()),
        )
        self._apps_listener = listener(
            "apps",
            settings.apps,
            lambda: enter_app(routes, self._apps.tickets, self._apps.pages, self._apps.gate.check_beyond),
        )
        self._dashboard_listener = listener(
            "dashboard", settings.dashboard, lambda: dashboard_app(routes, self._dashboard.gate, feed())
        )
        self._listeners = [self._control_listener, self._apps_listener, self._dashboard_listener]
        try:
            self._front = FrontServer(
                self.directory,
                self.gate,
                self._control_listener.fallback,
                settings.control,
                spools,
                lambda: sum([listener.connections for listener in self._listeners]),
            )
        except ValueError as error:
            raise ConfigError(f"control.trusted_proxies: {error}") from None
        self._agents = WebServer()
        self._tasks = TaskOwner("router")
        self._configuration = Rereading(lambda found: self._credentials.renewed(found), self._take_over)
        self._lag: LoopLag | None = None
        # While running.
        self._clients: ClientLinks | None = None
        self._ending = False
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._drained = asyncio.Event()  # the grace period of requests is over
        self._forced: list[Callable[[], object]] = [self._drained.set]
        #: Port on which the router listens for agents; 0 if it does not.
        self.server_port = 0

    @property
    def control_port(self) -> int:
        """Port of the listener for clients; 0 if it is closed."""
        return self._control_listener.port

    @property
    def apps_port(self) -> int:
        """Port of the listener for traffic to the jobs' own names; 0 if it is closed."""
        return self._apps_listener.port

    @property
    def _carries_traffic(self) -> bool:
        """Whether requests to jobs pass this router, and not only the agent in its process."""
        return self._settings.control.enabled or self._settings.apps.enabled

    @property
    def dashboard_port(self) -> int:
        """Port of the dashboard's listener; 0 if it is closed."""
        return self._dashboard_listener.port

    @property
    def dashboard_secret(self) -> str | None:
        """The random token of the dashboard; None if it has others."""
        return self._dashboard.secret

    def _connect_clients(self) -> Callable[[Subject], Connection | None]:
        """Return the function that makes the connection of a client's link; from now on jobs end with their clients."""
        options = {
            "user_data": self._user_data,
            "instance": self._instance,
            "debug": self._debug,
            "calls_max": CALLS_PER_CLIENT,
        }
        service = RelayService(self.directory, self.gate, self.pools, self.figures)
        clients = self._clients = ClientLinks(service, self.gate, options)
        return lambda subject: None if self._ending else clients.connect(subject)

    def _client_links(self) -> list[Connection]:
        return [] if self._clients is None else [*self._clients]

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen and dial as configured. ConfigError, which names the section, if a port cannot be had."""
        settings = self._settings
        raise_limit()
        self._lag = LoopLag(STATISTICS.lag.observe)
        ports: dict[str, int] = {}
        if settings.server.enabled:
            ports["server"] = self.server_port = await self._listen_for_agents()
        if settings.control.enabled:
            ports["control"] = await self._control_listener.listen(self._front, tls=self._credentials.control_tls)
        if settings.apps.enabled:
            ports["apps"] = self._apps.pages.port = await self._listen_for_apps()
        if settings.dashboard.enabled:
            ports["dashboard"] = await self._listen_for_the_dashboard()
        where = " ".join(f"{name}={port}" for name, port in ports.items())
        _log.info("pagent %s route started: uid=%s %s", __version__, self.uid, where)
        self._warn()
        self.pools.start()
        for address in self._credentials.dialled:
            self.keep_link(address, partial(self._admission.token_for, address))

    async def _listen_for_agents(self) -> int:
        server = self._settings.server
        places = max(1, min(server.pending_max, open_limit(server.pending_max * _PENDING_PART) // _PENDING_PART))
        app = rpc_app(self._admission.accepted)
        tls = self._credentials.server_tls
        return await self._agents.listen("server", app, server.interface, server.port, tls=tls, places=places)

    async def _listen_for_apps(self) -> int:
        listener = self._apps_listener
        site = self._apps.site(listener.fallback)
        return await listener.listen(self._front, tls=self._credentials.apps_tls, site=site)

    async def _listen_for_the_dashboard(self) -> int:
        listener = self._dashboard_listener
        site = self._dashboard.site(listener.fallback)
        return await listener.listen(self._front, tls=self._credentials.dashboard_tls, site=site)

    def address_of(self, job_uid: str, port: int | None = None) -> str | None:
        """Return the address of a job, or of one of its ports, for browsers; None if ``apps`` is not enabled."""
        pages = self._apps.pages
        return pages.addresses(self.apps_port).address_of(job_uid, port) if self.apps_port else None

    def _server_addresses(self) -> tuple[str, ...]:
        return server_addresses(self._settings.server, self.server_port, tls=self._credentials.server_tls is not None)

    def keep_link(self, address: Address, token: Callable[[], str]) -> None:
        """Dial an agent, and dial it again whenever the link is lost."""
        self.directory.expect((address, token()))
        self.directory.tasks.start(self._dialler.keep(address, token), name="keep a link to an agent")

    async def link_to(self, uid: str, address: Address, token: str, timeout: float) -> ConnectedAgent:
        """Wait for a link that :meth:`keep_link` makes. TimeoutError."""
        return await self.directory.table.next_link(AgentKey(uid, (address, token)), timeout)

    def _warn(self) -> None:
        settings = self._settings
        if settings.identity.uid is None:
            _log.warning("identity.uid is null: jobs are not found again after a restart of this router; set it")
        if settings.server.enabled and not self._credentials.accepted and not settings.pools:
            _log.warning("server.accept_tokens is empty: no agent can dial in (pagent help no-accepted-tokens)")
        if self.gate.is_closed:
            if self._settings.access.open:
                _log.warning("access.open is set, but the router is closed: every request needs a token or a user")
            return
        if settings.dashboard.enabled and not self._dashboard_listener.is_loopback:
            _log.warning("%s", self._dashboard.describe_beyond(str(self._dashboard_listener)))
        served = self._control_listener, self._apps_listener
        if listeners := [str(each) for each in served if each.port and not each.is_loopback]:
            self._tasks.start(remind_of_open(listeners), name="say that the router is open")

    async def wait(self) -> int:
        """Run until :meth:`end`; return the exit code."""
        return await self._exit_code

    def end(self, code: int) -> None:
        """Make :meth:`wait` return. A second call forces the graceful end."""
        if self._exit_code.done():
            for action in self._forced:
                action()
        else:
            _log.info("the router ends, with exit code %d", code)
            self._exit_code.set_result(code)

    def when_forced(self, action: Callable[[], object]) -> None:
        """Call ``action`` when the end is asked for again."""
        self._forced.append(action)

    async def stop(self) -> None:
        """Drain requests, then close all links. Jobs of agents keep running (docs/router.rst, "Signals")."""
        self._ending = True
        self._admission.end()
        if self._lag is not None:
            self._lag.close()
        if isinstance(self.gate, ClosedGate):
            self.gate.close()
        for client in self._client_links():
            client.refuse_calls()
            if not client.incoming:
                client.link.close(GOING_AWAY, "the router ends")
        await self._drain()
        await self._front.close()
        for listener in self._listeners:
            await listener.close()
        self._dashboard.close()
        self._apps.close()
        await self._joins.close()
        await self.pools.close()
        await self.directory.close()
        links = [*self.directory.table.connections(), *self._client_links()]
        await asyncio.gather(*(link.close(GOING_AWAY, "the router ends") for link in links))
        await self._tasks.close()
        await self._agents.close()
        await self._configuration.close()

    async def _drain(self) -> None:
        """Take no more requests, and let those under way end within the grace period."""
        grace = asyncio.get_running_loop().call_later(self._settings.control.drain_s, self._drained.set)
        webs = [listener.drain(self._drained) for listener in self._listeners]
        await asyncio.gather(self._front.drain(self._drained), *webs)
        grace.cancel()

    def _closed_gate(self) -> ClosedGate | None:
        """Return the gate of a closed router."""
        table = self._credentials.access
        if table is None:
            return None
        settings = self._settings
        return ClosedGate(
            self.directory, table, proxy_hosts=ProxyHosts(settings.control.allowed_hosts, settings.apps.domain)
        )

    # --- SIGHUP -----------------------------------------------------------------------------------

    def reload(self, read: Callable[[], RouterSettings]) -> None:
        """Take over the settings that may change at run time: tokens, keys, certificates and the log level."""
        self._configuration.start(read)

    def _take_over(self, settings: RouterSettings, credentials: RouterCredentials) -> int:
        """Use settings and credentials that were read again; return how many tokens are accepted."""
        self._credentials = credentials
        self._agents.use_tls("server", credentials.server_tls)
        self.pools.renew(credentials.keys)
        self.directory.absent.keep_tokens(credentials.tokens)
        if isinstance(self.gate, ClosedGate) and credentials.access is not None:
            ended = self.gate.renew(credentials.access)
            _log.info("tokens of clients: %d; closed with tokens that are gone: %d", len(credentials.access), ended)
        self._apps.renew(credentials.keys)
        self._dashboard.renew(credentials.dashboard)
        self._admission.renew(credentials)
        return len(credentials.accepted)


def _user_data(uid: str, name: str) -> dict[str, Any]:
    return {**identity.user_data(uid, name), "platform": identity.platform_data()}
