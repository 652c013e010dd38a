"""A second process in a job's sandbox over a WebSocket: ``GET /v1/jobs/<uid>/exec`` (docs/api.rst, "Exec")."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from aiohttp import web

from pagent.access.subprotocol import is_token, offered
from pagent.buffers import Bytes
from pagent.errors import CallError, LinkClosedError, MethodError, ProtocolError, RequestRefusedError, ServerError
from pagent.front.websocket import accept_value
from pagent.limits import TERMINAL_SIZE_MAX
from pagent.rpc.aio import StreamCall
from pagent.runtime.tasks import TaskOwner
from pagent.web.admission import handed_over, located
from pagent.web.failures import words_of
from pagent.web.routes import Routes
from pagent.web.v1.exec_socket import GONE, Closing, ExecSocket
from pagent.web.v1.queries import flag, number
from pagent.web.v1.refusals import require_ours
from pagent.wire import messages
from pagent.wire.closing import GOING_AWAY
from pagent.wire.frames import BINARY, CLOSE, TEXT

_SUBPROTOCOL: Final = "pagent.exec.v1"
_ROWS: Final = 24
_COLS: Final = 80
#: The first byte of a binary message of the client: its channel, the input of the process.
_INPUT: Final = 0

#: Close codes (RFC 6455 section 7.4.1).
_DONE: Final = 1000
_UNSUPPORTED: Final = 1003
_INVALID: Final = 1007
_FAILED: Final = 1011


class ExecRoutes:
    """Each request is one process, which ends with its WebSocket."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Start the process, answer with 101, and carry messages until the process or the client ends."""
        fields, arguments = _handshake(request), _arguments(request)
        job, agent = await located(self._routes, request)
        require_ours(agent, "exec")
        options = {"split": True, "started": True}
        async with agent.open_stream(messages.BISTREAM, "job_exec", job.job_uid, *arguments, **options) as call:
            await _started(call)
            response = web.StreamResponse(status=101, headers=fields)
            await response.prepare(request)
            await ExecSession(call, ExecSocket(handed_over(request), response)).run()
        return response


class ExecSession:
    """Carries messages between a process and a WebSocket. Each direction waits for its receiver."""

    def __init__(self, call: StreamCall, socket: ExecSocket) -> None:
        self._call = call
        self._socket = socket

    async def run(self) -> None:
        """Return when the WebSocket is closed."""
        tasks = TaskOwner("exec")
        running = [
            tasks.start(self._output(), name="carry the output of an exec"),
            tasks.start(self._input(), name="carry the input of an exec"),
            tasks.start(self._socket.until_silent(), name="ping the client of an exec"),
        ]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            closing = next(task for task in running if task.done()).result()
        except asyncio.CancelledError:
            self._socket.send_close(Closing(GOING_AWAY, "the router ends"))
            raise
        finally:
            await tasks.close()
        await self._socket.close(closing)

    async def _output(self) -> Closing:
        """Send what the process writes, and its exit code; return how the WebSocket ends then."""
        try:
            async for data in self._call:
                await self._socket.send(BINARY, data)
            code = await self._call.result()
            await self._socket.send(TEXT, orjson.dumps({"exit": code if type(code) is int else None}))
        except (CallError, LinkClosedError) as error:
            return Closing(_FAILED, str(error))
        except ConnectionError:
            return Closing(GONE)
        return Closing(_DONE)

    async def _input(self) -> Closing:
        """Send what the client writes to the process; return how the WebSocket ends when the client is to blame."""
        try:
            while True:
                opcode, payload = await self._socket.receive()
                if opcode == CLOSE:
                    return Closing(payload[0])
                await self._call.send(_resize(payload) if opcode == TEXT else _of_channel(payload))
        except ProtocolError as error:
            return Closing(error.code, str(error))
        except (CallError, LinkClosedError) as error:
            return Closing(_FAILED, str(error))


# --- the request ------------------------------------------------------------------------------------


def _handshake(request: web.Request) -> dict[str, str]:
    """Return the fields of the 101. RequestRefusedError 400 for what is no handshake of this protocol."""
    head = handed_over(request).head
    if (head.value("upgrade") or "").lower() != "websocket":
        raise RequestRefusedError(400, "exec is a WebSocket: the request has no Upgrade: websocket")
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_value(head)}
    subprotocols = [each for each in offered(head) if not is_token(each)]
    if subprotocols and _SUBPROTOCOL not in subprotocols:
        raise RequestRefusedError(400, f"the subprotocol {_SUBPROTOCOL} is not offered")
    return fields | ({"Sec-WebSocket-Protocol": _SUBPROTOCOL} if subprotocols else {})


def _arguments(request: web.Request) -> tuple[Any, ...]:
    """Return the arguments of ``job_exec`` after the job."""
    args = request.query.getall("arg", [])
    if not args:
        raise RequestRefusedError(400, "arg names the program, and each further arg is an argument of it")
    size = [number(request, name, default) for name, default in (("rows", _ROWS), ("cols", _COLS))]
    if not all(1 <= each <= TERMINAL_SIZE_MAX for each in size):
        raise RequestRefusedError(400, f"rows and cols must be from 1 to {TERMINAL_SIZE_MAX}")
    return args, None, flag(request, "tty"), *size


async def _started(call: StreamCall) -> None:
    """Wait until the process runs. RequestRefusedError 400 if there is no such program."""
    try:
        first = await call.receive()
        if first is None:
            await call.result()
    except MethodError as error:
        if error.cause_type == "FileNotFoundError":
            raise RequestRefusedError(400, words_of(error)) from None
        raise
    if first is not True:
        raise ServerError("the agent did not say that the process runs")


# --- messages of the client -------------------------------------------------------------------------


def _of_channel(payload: Bytes) -> bytes:
    """Return the input in a binary message; empty for its end."""
    if not payload or payload[0] != _INPUT:
        raise ProtocolError("a binary message begins with the byte 0, the channel of the input", _UNSUPPORTED)
    return bytes(payload[1:])


def _resize(text: str) -> dict[str, list[int]]:
    """Return the message for the agent that a text message stands for."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    match value:
        case {"resize": [int(rows), int(cols)]} if len(value) == 1:
            return {"resize": [rows, cols]}
    raise ProtocolError('a text message is {"resize": [rows, cols]}', _INVALID)
