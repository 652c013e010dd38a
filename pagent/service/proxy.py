"""RPC methods that carry users' traffic to jobs' ports (spec agent.md, parts 1 and 2)."""

from __future__ import annotations

from functools import partial
from typing import Any

from pagent.http1.fields import is_token
from pagent.http1.request import encode_raw_request, encode_request
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.limits import KIB, MESSAGE_MAX_FOREIGN, WEBSOCKET_MESSAGE_MAX
from pagent.net.port import connect_port
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import bistream
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.stream import Stream
from pagent.service.jobs import owner_of
from pagent.splice.http import HttpSplice
from pagent.splice.pool import Pool
from pagent.splice.tcp import TcpSplice
from pagent.splice.websocket import WebSocketSplice, upgrade_for


class _Target:
    """A port of a running job, and what each call to it needs."""

    def __init__(self, job: Job, number: int, spool: SpoolOpener) -> None:
        self.job = job
        self.number = number
        self.spool = spool
        self.authority = f"127.0.0.1:{number}"
        self.pool = Pool(number)


class ProxyService:
    """Joins the streams of calls to connections of jobs; holds the idle connections of each job.

    What a peer gives is Any: that it is what it should be is found out by who works on it.
    """

    def __init__(self, manager: JobManager, *, spool_max: int) -> None:
        self._manager = manager
        self._spool_max = spool_max
        self._targets: dict[tuple[str, int | None], _Target] = {}

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
    ) -> None:
        target = self._target(call, job_uid, port)
        # Pages poll: what has been made of a request that has the same bytes is made once.
        memo = call.start.memo
        if memo is None or memo[0] != target.authority:
            if raw:
                head = encode_raw_request(method, path, headers, authority=target.authority)
            else:
                head = encode_request(method, path, query, headers, authority=target.authority, identity=True)
            memo = call.start.memo = (target.authority, head)
        assert call.stream is not None
        HttpSplice(call, call.stream, target.pool, memo[1], raw).start()

    @bistream
    def ws_connect(
        self,
        call: IncomingCall,
        job_uid: Any,
        path: Any,
        query: Any,
        headers: Any,
        subprotocols: Any = None,
        port: Any = None,
    ) -> None:
        target = self._target(call, job_uid, port)
        head = encode_request("GET", path, query, headers, authority=target.authority, identity=False)
        upgrade = upgrade_for(head, _subprotocols(subprotocols))
        assert call.stream is not None
        splice = WebSocketSplice(
            call,
            call.stream,
            upgrade,
            detailed=subprotocols is not None,
            max_message=WEBSOCKET_MESSAGE_MAX if call.connection.flow else MESSAGE_MAX_FOREIGN - KIB,
        )
        call.run(splice.connect(target.number))

    @bistream
    def tcp_connect(self, call: IncomingCall, job_uid: Any, port: Any = None) -> None:
        target = self._target(call, job_uid, port)
        assert call.stream is not None
        call.run(self._tunnel(call, call.stream, target.number))

    async def _tunnel(self, call: IncomingCall, stream: Stream, port: int) -> None:
        splice = TcpSplice(stream, partial(_conclude, call))
        try:
            connection = await connect_port(port, splice, partial(stream.send, True), resets=True)
        except OSError as error:
            stream.send(False)
            call.fail(error)
            return
        splice.start(connection)

    def _target(self, call: IncomingCall, job_uid: Any, port: Any) -> _Target:
        target = self._targets.get((job_uid, port))
        if target is None or target.job.owner.realm != call.connection.realm:
            job = self._manager.get(job_uid, owner_of(call.connection))
            target = self._add_target(job, port)
        stream = call.stream
        assert stream is not None
        stream.spool_with(target.spool)
        return target

    def _add_target(self, job: Job, port: Any) -> _Target:
        number = job.single_port(port)
        key = (job.uid, number)
        if key not in self._targets:
            spool = SpoolOpener(job.sandbox.open_spool, self._spool_max)
            self._targets[key] = _Target(job, number, spool)
            job.on_end(lambda: self._drop_targets(job))
        # A job that runs reports no further port: the only one stays the only one.
        target = self._targets[job.uid, port] = self._targets[key]
        return target

    def _drop_targets(self, job: Job) -> None:
        for key in [key for key in self._targets if key[0] == job.uid]:
            self._targets.pop(key).pool.close()


def _conclude(call: IncomingCall, error: Exception | None) -> None:
    if error is None:
        call.finish()
    else:
        call.fail(error)


def _subprotocols(names: Any) -> list[str]:
    """What to offer the job; ValueError for what is no list of tokens (RFC 6455 section 4.1)."""
    if names is None:
        return []
    if type(names) not in (list, tuple) or not all(type(name) is str and is_token(name) for name in names):
        raise ValueError("subprotocols must be a list of tokens")
    return list(names)
