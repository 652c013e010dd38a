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
from pagent.errors import CALL_ERRORS, MethodError, RequestRefusedError
from pagent.http1.wire_text import fields_to_wire
from pagent.limits import MESSAGE_MAX
from pagent.rpc.aio import StreamCall
from pagent.rpc.directory import Gate, Lease
from pagent.runtime.tasks import TaskOwner
from pagent.system_errors import is_shortage
from pagent.web.admission import handed_over, located, subject_of
from pagent.web.answers import empty_answer
from pagent.web.payloads import WSCONNECT, read_payload
from pagent.web.routes import Routes
from pagent.wire import messages
from pagent.wire.closing import valid_close_code

_log = logging.getLogger(__name__)

_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
#: Codes of RFC 6455 section 7.4.1: the purpose is fulfilled; no code came; a fault of this side.
_NORMAL: Final = 1000
_NO_CODE: Final = 1005
_INTERNAL_ERROR: Final = 1011
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
        args = [job.job_uid, path, query, self._fields(request), *([[]] if agent.is_ours else [])]  # [] for close codes
        stream = agent.open_stream(messages.BISTREAM, "ws_connect", *args)
        try:
            detailed = await _accepted(stream)
            lease = self._gate.lease(subject_of(request), lambda: join.cancel(), stream=True)
        except BaseException:
            stream.cancel()
            raise
        join = self._tasks.start(self._join(stream, detailed, url, addresses), name="join two WebSockets")
        join.add_done_callback(lambda _: _release(lease))
        return empty_answer()

    def _fields(self, request: web.Request) -> list[list[Any]]:
        """Return the fields of a request that its job gets."""
        head = handed_over(request).head
        self._gate.conceal(head, OPERATION)
        return fields_to_wire(head.fields)

    async def _join(self, stream: StreamCall, detailed: bool, url: str, addresses: list[str]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        connector = _OneTarget(_target(url), addresses)
        async with stream, aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                async with session.ws_connect(url, max_msg_size=MESSAGE_MAX) as socket:
                    await self._carry(stream, socket, detailed)
            except (*CALL_ERRORS, aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.info("wsconnect ended: %s", error)

    async def _carry(self, stream: StreamCall, socket: aiohttp.ClientWebSocketResponse, detailed: bool) -> None:
        """Carry messages both ways until either side ends."""
        out = self._tasks.start(_from_job(stream, socket), name="carry what a job sends")
        try:
            while (message := await socket.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                await stream.send(message.data)
            if message.type is aiohttp.WSMsgType.CLOSE and not stream.is_over:
                code = message.data
                await _close_job(stream, (code, message.extra or "") if detailed and valid_close_code(code) else None)
        finally:
            if not stream.is_over:  # otherwise it closes the other side
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


async def _accepted(stream: StreamCall) -> bool:
    """Wait until the job has accepted the upgrade, and return whether the agent reports close codes.

    RequestRefusedError 400 with the agent's words if the job refuses.
    """
    if first := await stream.receive():
        return first is not True
    try:
        await stream.result()
    except MethodError as error:
        if error.cause_type == "JobNotFoundError" or is_shortage(error):
            raise
        raise RequestRefusedError(400, str(error)) from None
    raise RequestRefusedError(400, "the job refused the WebSocket")


async def _close_job(stream: StreamCall, close: tuple[int, str] | None) -> None:
    """Close the job's WebSocket, with the code and reason of the other side if they can be passed on."""
    if close is not None:
        await stream.send({"close": list(close)})
    stream.close()
    await stream.result()


async def _from_job(stream: StreamCall, socket: aiohttp.ClientWebSocketResponse) -> None:
    """Carry the job's messages, and its close."""
    code, reason = _INTERNAL_ERROR, ""
    try:
        async for value in stream:
            await (socket.send_str(value) if isinstance(value, str) else socket.send_bytes(bytes(value)))
        code, reason = _close_of(await stream.result())
    except (*CALL_ERRORS, ConnectionError) as error:
        _log.info("wsconnect: %s", error)
    await socket.close(code=code, message=reason.encode())


def _close_of(outcome: Any) -> tuple[int, str]:
    """Return the code and reason for the other side when the job has closed; ``outcome`` is that of ``ws_connect``."""
    if not isinstance(outcome, dict):  # of an agent of the field
        return _NORMAL, ""
    code = outcome["code"]
    if valid_close_code(code):
        return code, outcome["reason"]
    return (_NORMAL if code == _NO_CODE else _INTERNAL_ERROR), ""


class _OneTarget(aiohttp.TCPConnector):
    """Connects to one target, and refuses redirects to another."""

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
        """Do nothing: the resolver has no resources."""
