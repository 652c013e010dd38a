"""``wsconnect``: a job's WebSocket joined to one that the router opens elsewhere."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from pagent.access.operations import WSCONNECT as OPERATION
from pagent.errors import CallError, LinkClosedError, MethodError, RequestRefusedError
from pagent.http1.wire_text import fields_to_wire
from pagent.limits import MESSAGE_MAX
from pagent.rpc.aio import StreamCall
from pagent.rpc.directory import Gate, Lease
from pagent.runtime.tasks import TaskOwner
from pagent.web.admission import handed_over, located, subject_of
from pagent.web.answers import empty_answer
from pagent.web.payloads import WSCONNECT, read_payload
from pagent.web.routes import Routes
from pagent.wire import messages

_log = logging.getLogger(__name__)

_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
#: How long the other WebSocket may take to open.
_CONNECT_S: Final = 30.0


class WebSocketJoins:
    """The joins that are under way."""

    def __init__(self, routes: Routes, gate: Gate) -> None:
        self._routes = routes
        self._gate = gate
        self._tasks = TaskOwner("wsconnect")

    async def connect(self, request: web.Request) -> web.Response:
        """Open the job's WebSocket, answer, then open the other one and join them."""
        payload = await read_payload(request, WSCONNECT)
        job, agent = await located(self._routes, request)
        url = payload["url"]
        host, port = _target(url)
        addresses = await self._routes.may_dial(host, port)
        path, query = "/" + request.match_info["rest"], [list(pair) for pair in request.query.items()]
        stream = agent.open_stream(messages.BISTREAM, "ws_connect", job.job_uid, path, query, self._fields(request))
        try:
            await _accepted(stream)
            lease = self._gate.lease(subject_of(request), lambda: join.cancel(), stream=True)
        except BaseException:
            stream.cancel()
            raise
        join = self._tasks.start(self._join(stream, url, addresses), name="join two WebSockets")
        join.add_done_callback(lambda _: _release(lease))
        return empty_answer()

    def _fields(self, request: web.Request) -> list[list[Any]]:
        """Return the fields of a request that its job gets."""
        head = handed_over(request).head
        self._gate.conceal(head, OPERATION)
        return fields_to_wire(head.fields)

    async def _join(self, stream: StreamCall, url: str, addresses: list[str]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        connector = _OneTarget(_target(url), addresses)
        async with stream, aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                async with session.ws_connect(url, max_msg_size=MESSAGE_MAX) as socket:
                    await self._carry(stream, socket)
            except (aiohttp.ClientError, TimeoutError, OSError, CallError, LinkClosedError) as error:
                _log.info("wsconnect ended: %s", error)

    async def _carry(self, stream: StreamCall, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Carry messages both ways until either side ends."""
        out = self._tasks.start(_from_job(stream, socket), name="carry what a job sends")
        try:
            async for message in socket:
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                await stream.send(message.data)
            stream.close()
        finally:
            out.cancel()
            await asyncio.wait((out,))

    async def close(self) -> None:
        """End all joins."""
        await self._tasks.close()


def _release(lease: Lease | None) -> None:
    if lease is not None:
        lease.release()


def _target(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in _PORTS:
        raise RequestRefusedError(400, "url must be ws://, wss://, http:// or https://, with a host")
    return host, port or _PORTS[parts.scheme]


async def _accepted(stream: StreamCall) -> None:
    """Wait until the job has accepted the upgrade. RequestRefusedError 400 with the agent's words if it refuses."""
    if await stream.receive() is True:
        return
    try:
        await stream.result()
    except MethodError as error:
        if error.cause_type == "JobNotFoundError":
            raise
        raise RequestRefusedError(400, str(error)) from None
    raise RequestRefusedError(400, "the job refused the WebSocket")


async def _from_job(stream: StreamCall, socket: aiohttp.ClientWebSocketResponse) -> None:
    try:
        async for value in stream:
            await (socket.send_str(value) if isinstance(value, str) else socket.send_bytes(bytes(value)))
    except (CallError, LinkClosedError, ConnectionError) as error:
        _log.info("wsconnect: %s", error)
    await socket.close()


class _OneTarget(aiohttp.TCPConnector):
    """Connects to one target: redirects lead nowhere else."""

    def __init__(self, target: tuple[str, int], addresses: list[str]) -> None:
        super().__init__(resolver=_Resolved(addresses), use_dns_cache=False)
        self._target = target

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        if (req.url.host, req.url.port) != self._target:
            raise aiohttp.ClientConnectionError("the other side redirects")
        return await super().connect(req, traces, timeout)


class _Resolved(AbstractResolver):
    """Gives the addresses that were checked, whatever the name means by now."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""
