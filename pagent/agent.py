"""The agent: makes its parts, starts them and ends them."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pagent import __version__
from pagent.access.hosts import is_loopback_name
from pagent.config.joining import JoinData
from pagent.config.model import IsolationSettings, Settings
from pagent.errors import ConfigError
from pagent.jobs.command import property_variables
from pagent.jobs.figures import HostFigures
from pagent.jobs.manager import JobManager
from pagent.jobs.tree import become_subreaper
from pagent.limits import DISK_END_S
from pagent.net.credentials import Credentials, load_credentials
from pagent.rpc.methods import methods_of
from pagent.runtime.descriptors import raise_limit
from pagent.runtime.loop_lag import LoopLag
from pagent.runtime.memory import current_memory
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.rereading import Rereading
from pagent.runtime.tasks import TaskOwner
from pagent.service.admission import ENDS, RouterAdmission
from pagent.service.dialling import DialledLinks, RouterDialling, targets_of
from pagent.service.disk import DiskThreads
from pagent.service.exec import ExecService
from pagent.service.figures import FiguresService
from pagent.service.files import FileService
from pagent.service.host import HostService
from pagent.service.jobs import JobService
from pagent.service.joining import JoinedLife, JoinedLinks
from pagent.service.links import AgentLinks
from pagent.service.logs import LogService
from pagent.service.metrics import agent_metrics
from pagent.service.operator import OperatorLinks
from pagent.service.proxy import ProxyService
from pagent.web.control_app import ControlFunctions, control_app
from pagent.web.report_app import REPORT_PATH, report_app
from pagent.web.rpc_app import rpc_app
from pagent.web.server import WebServer
from pagent.wire import identity

_log = logging.getLogger(__name__)

_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


class Agent:
    """One agent in this process. ``await start()``, then ``await wait()``, then always ``await stop()``.

    :param environ: its ``PAGENT_TOKEN`` is accepted, too.
    :param join: the join data of an agent of a pool; ``settings`` are those of :meth:`JoinData.settings` then.
    :raises ConfigError: from the constructor, if the settings leave nothing to do or name what cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connection_debug: bool = False,
        environ: Mapping[str, str] = _EMPTY,
        join: JoinData | None = None,
    ) -> None:
        # For life.
        self._settings = settings
        self._client_enabled = settings.client.enabled
        if settings.client.enabled and not settings.client.address:
            _log.warning("client mode has no client.address and is turned off")
            self._client_enabled = False
        if not (settings.server.enabled or self._client_enabled):
            raise ConfigError("neither server mode nor client mode is enabled: there is nothing to do")
        self._routers = targets_of(settings.client, environ) if self._client_enabled else []
        self._environ = environ
        self._credentials = self._load_credentials(settings)
        self.uid = settings.identity.uid or uuid.uuid4().hex
        self._user_data = self._describe(settings)
        self.disk = DiskThreads(settings.jobs.background_threads)
        self._jobs_root = settings.jobs.root or Path(tempfile.gettempdir())
        try:
            self.jobs = JobManager(
                root=self._jobs_root,
                properties=settings.properties,
                port_ownership=settings.jobs.port_ownership,
                max_output_bytes=settings.jobs.max_output_bytes,
                isolation=settings.jobs.isolation,
                allow_folders=settings.jobs.allow_folders,
                max_jobs=settings.jobs.max,
            )
        except OSError as error:
            raise ConfigError(f"jobs.root: no sandboxes can be made in {self._jobs_root}: {error.strerror}") from None
        spool_max = settings.proxy.spool_max
        current_memory().set_limit(settings.proxy.memory_max)
        self._figures = HostFigures(self._jobs_root)
        self._life = None if join is None else JoinedLife(join, self.jobs, self._end_joined)
        self.methods = methods_of(
            JobService(self.jobs, self.disk),
            ProxyService(self.jobs, self.disk, spool_max=spool_max),
            ExecService(self.jobs, self.disk, spool_max=spool_max),
            LogService(self.jobs, self.disk),
            FileService(self.jobs, self.disk, spool_max=spool_max),
            HostService(self.jobs, self._figures, self._life),
            FiguresService(self.jobs),
        )
        self.links = AgentLinks(self.jobs)
        self._admission = RouterAdmission(
            self.links,
            self._credentials,
            self.methods,
            self._life,
            user_data=self._user_data,
            instance=uuid.uuid4().hex,
            debug=connection_debug,
        )
        self._dialling = TaskOwner("dialling")
        self._tasks = TaskOwner("agent")
        # While running.
        self._web = WebServer()
        self._lag: LoopLag | None = None
        self._ending = False
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forced = asyncio.Event()  # end at once
        self._configuration = Rereading(self._load_again, self._take_over)
        self._when_renewed: list[Callable[[Settings], object]] = []
        self._operator: OperatorLinks | None = None
        #: Ports of the listeners; 0 for a listener that is closed.
        self.rpc_port = self.control_port = self.report_port = 0

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen and dial as configured. ConfigError, which names the section, if a port cannot be had."""
        settings = self._settings
        await self.jobs.clean_up(self._jobs_root)
        become_subreaper()
        raise_limit()
        ports: dict[str, int] = {}
        if settings.server.enabled:
            server = settings.server
            if not self._credentials.tokens.accepted:
                _log.warning("server.accept_tokens is empty: no router can dial in (pagent help no-accepted-tokens)")
            app = rpc_app(self._admission.accepted)
            ports["rpc"] = self.rpc_port = await self._web.listen(
                "server", app, server.interface, server.port, tls=self._credentials.server_tls
            )
        if settings.control.enabled:
            control = settings.control
            self._warn_of_open_control(settings)
            app = control_app(
                ControlFunctions(
                    self._info,
                    self.list_jobs,
                    self.links.show,
                    lambda: self.end(0),
                    metrics=lambda: agent_metrics(self.jobs, self.links),
                    is_ready=lambda: not self._ending and (not self._routers or len(self.links) > 0),
                ),
                allowed_hosts=control.allowed_hosts,
                tokens=lambda: self._credentials.tokens.control,
            )
            ports["control"] = self.control_port = await self._web.listen(
                "control", app, control.interface, control.port
            )
        ports["report"] = self.report_port = await self._web.listen(
            "port report", report_app(self.jobs.report_port), "127.0.0.1", 0
        )
        self._lag = LoopLag(STATISTICS.lag.observe)
        self.jobs.endpoint = f"http://127.0.0.1:{ports['report']}{REPORT_PATH}"
        self.jobs.agent_ports.update(ports.values())
        where = " ".join(f"{name}={port}" for name, port in ports.items())
        _log.info("pagent %s started: uid=%s %s", __version__, self.uid, where)
        if self._life is not None:
            self._life.start()
        if self._routers:
            self._dialling.start(self._keep_dialling(), name="dial")

    def _warn_of_open_control(self, settings: Settings) -> None:
        control = settings.control
        if self._credentials.tokens.control is not None:
            return
        if not (control.interface and is_loopback_name(control.interface)):
            _log.warning("control.interface is not of the loopback, and there is no control.token")
        if settings.jobs.isolation != IsolationSettings():
            _log.warning(
                "jobs.isolation is set, but jobs can use the control API, which shows all jobs and ends the agent:"
                " set control.token or control.token_file, or turn it off with control.enabled"
            )

    def reload(self, read: Callable[[], Settings]) -> None:
        """Take over the settings that may change at run time: tokens, keys, certificates, log level and properties."""
        self._configuration.start(read)

    def _take_over(self, settings: Settings, credentials: Credentials) -> int:
        """Use settings and credentials that were read again; return how many tokens are accepted."""
        self._credentials = credentials
        self._web.use_tls("server", credentials.server_tls)
        self._user_data = self._describe(settings)
        self.jobs.properties = property_variables(settings.properties)
        self._admission.renew(credentials, self._user_data)
        for action in self._when_renewed:
            action(settings)
        return len(credentials.tokens.accepted)

    def _load_again(self, settings: Settings) -> Credentials:
        """Return the credentials that settings name which were read again; in a thread."""
        credentials = self._load_credentials(settings)
        if (credentials.server_tls is None) is not (self._credentials.server_tls is None):
            raise ConfigError("server.tls.certificate: TLS is turned on or off by a restart only")
        return credentials

    def _load_credentials(self, settings: Settings) -> Credentials:
        dials_tls = any(router.address.tls for router in self._routers)
        return load_credentials(settings, self._environ, dials_tls=dials_tls)

    async def listen_for_operator(self, secret: str) -> int:
        """Listen on the loopback for links that see the jobs of all realms; return the port."""
        self._operator = links = OperatorLinks(secret, self._admission.operator)
        port = await self._web.listen("operator", rpc_app(links.accept), "127.0.0.1", 0)
        self.jobs.agent_ports.add(port)
        return port

    def when_renewed(self, action: Callable[[Settings], object]) -> None:
        """Call ``action`` with the settings of each reload."""
        self._when_renewed.append(action)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens of the control API."""
        return self._credentials.tokens.control or ()

    def _describe(self, settings: Settings) -> dict[str, Any]:
        """Return the user data of this agent, without its private fields."""
        return identity.user_data(self.uid, self._settings.identity.name, properties=settings.properties)

    @property
    def is_ending(self) -> bool:
        """Whether :meth:`end` was called."""
        return self._exit_code.done()

    async def wait(self) -> int:
        """Run until :meth:`end`; return the exit code."""
        return await self._exit_code

    def end(self, code: int) -> None:
        """Make :meth:`wait` return. The second call ends the grace period of the jobs."""
        if self._exit_code.done():
            self._forced.set()
        else:
            _log.info("the agent ends, with exit code %d", code)
            self._exit_code.set_result(code)

    def _end_joined(self, reason: str, level: int = logging.WARNING) -> None:
        """End with a message that a pool takes for the last words of its engine, unless the end is a normal one."""
        _log.log(level, "the joined agent ends: %s", reason)
        if not self.is_ending:
            self.end(0)

    async def stop(self) -> None:
        """Refuse new links, end all jobs, close all links, and stop listening (docs/contract.rst, "End")."""
        self._ending = True
        self._admission.end()
        if self._lag is not None:
            self._lag.close()
        if self._life is not None:
            await self._life.close()
        await self.jobs.shutdown(now=self._forced)
        await self._dialling.close()
        await self.links.close(ENDS)
        if self._operator is not None:
            await self._operator.close(ENDS)
        await self._tasks.close()
        await self._web.close()
        await self._configuration.close()
        await self._figures.close()
        await self.disk.close(0 if self._forced.is_set() else DISK_END_S)

    # --- links ------------------------------------------------------------------------------------

    async def _keep_dialling(self) -> None:
        """Keep a link to each router; with ``client.exit_on_fail``, end the agent when there is none."""
        client = self._settings.client
        dialled = (
            DialledLinks(len(self._routers), ends=client.exit_on_fail)
            if self._life is None
            else JoinedLinks(len(self._routers), self._end_joined, self._life.link_changed)
        )
        for router in self._routers:
            way = partial(self._admission.dialled, router)
            dialling = RouterDialling(router.address, way, dialled, self.links, client.reconnect_delay)
            self._dialling.start(dialling.keep(), name="dial a router")
        await dialled.ended.wait()
        if self._life is None:
            self.end(1)

    # --- the control API --------------------------------------------------------------------------

    def _info(self) -> dict[str, Any]:
        return self._user_data

    def list_jobs(self) -> Iterator[dict[str, Any]]:
        """Yield the entry of each job in the list of the control API."""
        for job in self.jobs.jobs():
            yield {
                "uid": job.uid,
                "name": job.name,
                "sandbox": str(job.sandbox.path),
                "sender": {"direction": job.owner.direction, "uid": job.owner.uid, "name": job.owner.name},
                "port": job.ports[0] if len(job.ports) == 1 else None,
                "state": job.state.name,
            }
