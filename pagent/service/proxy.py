"""RPC methods that carry clients' traffic to jobs' ports (docs/contract.rst, "http_request", "ws_connect", "Proxy")."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any, Final

from pagent.http1.fields import is_token
from pagent.http1.request import encode_raw_request, encode_request
from pagent.http1.request_cache import RequestHeadCache
from pagent.jobs.last_responses import completeness
from pagent.jobs.listener import listener_of
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.limits import KIB, MESSAGE_MAX_FOREIGN, WEBSOCKET_MESSAGE_MAX
from pagent.net.tls import job_context
from pagent.rpc.calls import IncomingCall
from pagent.rpc.host import CallHost
from pagent.rpc.methods import bistream
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.stream import Stream
from pagent.runtime.descriptors import open_limit
from pagent.service.disk import DiskThreads
from pagent.service.jobs import owner_of
from pagent.splice.answer import Caller
from pagent.splice.http import HttpSplice
from pagent.splice.jobport import IdleConnections, JobPort
from pagent.splice.pool import Pool
from pagent.splice.tcp import TcpSplice
from pagent.splice.websocket import WebSocketSplice
from pagent.splice.websocket_handshake import upgrade_for

#: All idle connections together use at most this part of the descriptors, or IDLE_MAX where those have no limit.
IDLE_DESCRIPTORS_PART: Final = 8
IDLE_MAX: Final = 8192


class _Target:
    """A port of a running job, with its idle connections."""

    def __init__(self, job: Job, port: JobPort, spool: SpoolOpener) -> None:
        activity = job.activity
        self.job = job
        self.port = port
        self.activity = activity
        self.spool = spool
        self.authority = f"127.0.0.1:{port.number}"
        self.pool = Pool(port, activity)
        self._traffic = job.traffic
        # Made once: there may be thousands of calls.
        self._ended_call, self._ended_channel = activity.ended, activity.channel_ended

    def opened(self, call: IncomingCall, stream: Stream, channel: bool) -> None:
        """Count the stream of a call until the call ends. ``channel``: as of :class:`JobActivity`."""
        stream.count_in(self._traffic)
        if channel:
            self.activity.channel_opened()
            call.on_end = self._ended_channel
        else:
            self.activity.opened()
            call.on_end = self._ended_call


class ProxyService:
    """Joins the streams of calls to connections of jobs, and keeps idle connections for each job.

    Arguments of a peer are Any: the code that uses one checks its type.
    """

    def __init__(self, manager: JobManager, threads: DiskThreads, *, spool_max: int) -> None:
        self._manager = manager
        self._threads = threads
        self._spool_max = spool_max
        # By realm, job, port as asked for, and scheme, while the job runs; the realm of a job does not change.
        self._targets: dict[tuple[object, str, int | None, str], _Target] = {}
        self._heads = RequestHeadCache()
        self._idle = IdleConnections(0)
        self._tls: ssl.SSLContext | None = None

    @bistream
    def http_request(
        self,
        call: IncomingCall,
        job_uid: Any,
        method: Any,
        path: Any,
        query: Any,
        headers: Any,
        raw: Any = False,
        port: Any = None,
        upgrade: Any = False,
        scheme: Any = "http",
    ) -> None:
        target = self._target(call, job_uid, port, scheme, bool(upgrade))
        if isinstance(headers, bytes) and not call.connection.lines:
            raise TypeError("headers must be a list of pairs")
        head = self._heads.encode(
            method, path, query, headers, authority=target.authority, raw=bool(raw), upgrade=bool(upgrade)
        )
        assert call.stream is not None
        caller = Caller.RAW if raw else Caller.OURS if call.connection.flow else Caller.FIELD
        call.drop_arguments()
        HttpSplice(call, call.stream, target.pool, head, caller).start()

    @bistream
    def ws_connect(
        self,
        call: IncomingCall,
        job_uid: Any,
        path: Any,
        query: Any,
        headers: Any,
        subprotocols: Any = None,
        raw: Any = False,
        port: Any = None,
        scheme: Any = "http",
    ) -> None:
        target = self._target(call, job_uid, port, scheme, True)
        if raw:
            head = encode_raw_request("GET", path, headers, authority=target.authority)
        else:
            head = encode_request("GET", path, query, headers, authority=target.authority, identity=False)
        upgrade = upgrade_for(head, _subprotocols(subprotocols))
        assert call.stream is not None
        splice = WebSocketSplice(
            call,
            call.stream,
            upgrade,
            detailed=subprotocols is not None,
            activity=target.activity,
            max_message=WEBSOCKET_MESSAGE_MAX if call.connection.flow else MESSAGE_MAX_FOREIGN - KIB,
        )
        call.drop_arguments()
        call.run(splice.connect(target.pool))

    @bistream
    def tcp_connect(self, call: IncomingCall, job_uid: Any, port: Any = None, scheme: Any = "http") -> None:
        target = self._target(call, job_uid, port, scheme, False)
        assert call.stream is not None
        call.drop_arguments()
        call.run(self._tunnel(call, call.stream, target))

    async def _tunnel(self, call: IncomingCall, stream: Stream, target: _Target) -> None:
        splice = TcpSplice(stream, partial(_conclude, call), answered=target.pool.answered, activity=target.activity)

        def connected() -> None:
            stream.send(True)
            target.pool.asked(splice)

        try:
            connection = await target.port.connect(splice, connected, resets=True)
        except OSError as error:
            stream.send(False)
            call.fail(error)
            return
        splice.start(connection)

    def _target(self, call: IncomingCall, job_uid: Any, port: Any, scheme: Any, channel: bool) -> _Target:
        """Return the target of a call, which counts as a stream of the job from now on."""
        target = None
        if type(job_uid) is str and (port is None or type(port) is int) and type(scheme) is str:
            target = self._targets.get((call.connection.realm, job_uid, port, scheme))
        if target is None or (port is None and len(target.job.ports) != 1):
            target = self._find_target(call.connection, job_uid, port, scheme)
        assert call.stream is not None
        call.stream.spool_with(target.spool)
        target.opened(call, call.stream, channel)
        return target

    def _find_target(self, connection: CallHost, job_uid: Any, port: Any, scheme: Any) -> _Target:
        """Check the arguments, and add the target if it is new."""
        job = self._manager.get(job_uid, owner_of(connection))
        number = job.single_port(port)
        if scheme not in ("http", "https"):
            raise ValueError("scheme must be 'http' or 'https'")
        target = self._targets.get((connection.realm, job.uid, number, scheme))
        if target is None:
            spool = SpoolOpener(job.sandbox.open_spool, self._spool_max, self._threads.of(job))
            target = _Target(job, self._port(job, number, scheme), spool)
            self._targets[connection.realm, job.uid, number, scheme] = target
            job.on_end(lambda: self._drop_targets(job))
        self._targets[connection.realm, job.uid, port, scheme] = target
        return target

    def _port(self, job: Job, number: int, scheme: str) -> JobPort:
        self._idle.most = open_limit(IDLE_MAX * IDLE_DESCRIPTORS_PART) // IDLE_DESCRIPTORS_PART
        check = partial(self._manager.ownership.require, job.uid, number)
        ended = partial(completeness, job)
        if scheme == "http":
            return JobPort(number, self._idle, None, check, listener_of, ended)
        if self._tls is None:
            self._tls = job_context()
        return JobPort(number, self._idle, self._tls, check, listener_of, ended)

    def _drop_targets(self, job: Job) -> None:
        for key in [key for key in self._targets if key[1] == job.uid]:
            self._targets.pop(key).pool.close()


def _conclude(call: IncomingCall, error: Exception | None) -> None:
    if error is None:
        call.finish()
    else:
        call.fail(error)


def _subprotocols(names: Any) -> list[str]:
    """Return the subprotocols to offer the job; ValueError unless they are a list of tokens (RFC 6455 section 4.1)."""
    if names is None:
        return []
    if type(names) not in (list, tuple) or not all(type(name) is str and is_token(name) for name in names):
        raise ValueError("subprotocols must be a list of tokens")
    return list(names)
