"""A second process in a job's sandbox over a WebSocket: ``GET /v1/jobs/<uid>/exec`` (docs/api.rst, "Exec")."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import orjson
from aiohttp import web

from pagent.access.subprotocol import is_token, offered
from pagent.buffers import Bytes
from pagent.errors import CALL_ERRORS, MethodError, ProtocolError, RequestRefusedError, ServerError
from pagent.front.websocket import accept_value
from pagent.limits import TERMINAL_SIZE_MAX
from pagent.router_limits import EXEC_WINDOW_MAX, EXEC_WINDOW_MIN
from pagent.rpc.aio import StreamCall
from pagent.runtime.tasks import TaskOwner
from pagent.web.admission import handed_over, located
from pagent.web.failures import words_of
from pagent.web.routes import Routes
from pagent.web.v1.exec_socket import GONE, Closing, ExecSocket
from pagent.web.v1.exec_window import OutputWindow
from pagent.web.v1.queries import flag, number
from pagent.web.v1.refusals import require_ours
from pagent.wire import messages
from pagent.wire.closing import GOING_AWAY, INVALID_PAYLOAD
from pagent.wire.frames import BINARY, CLOSE, TEXT

_SUBPROTOCOL: Final = "pagent.exec.v1"
_ROWS: Final = 24
_COLS: Final = 80
#: Names of terminals in the terminfo database.
_is_term: Final = re.compile(r"[A-Za-z0-9._+-]{1,64}").fullmatch
#: The first byte of a binary message of the client: its channel, the input of the process.
_INPUT: Final = 0

#: Close codes (RFC 6455 section 7.4.1).
_DONE: Final = 1000
_UNSUPPORTED: Final = 1003
_FAILED: Final = 1011


class ExecRoutes:
    """Each request is one process, which ends with its WebSocket."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Start the process, answer with 101, and carry messages until the process or the client ends."""
        fields, arguments, window = _handshake(request), _arguments(request), _window(request)
        job, agent = await located(self._routes, request)
        require_ours(agent, "exec")
        options = {"split": True, "started": True}
        async with agent.open_stream(messages.BISTREAM, "job_exec", job.job_uid, *arguments, **options) as call:
            await _started(call)
            response = web.StreamResponse(status=101, headers=fields)
            await response.prepare(request)
            await ExecSession(call, ExecSocket(handed_over(request), response), window).run()
        return response


class ExecSession:
    """Carries messages between a process and a WebSocket. Each direction waits for its receiver."""

    def __init__(self, call: StreamCall, socket: ExecSocket, window: OutputWindow) -> None:
        self._call = call
        self._socket = socket
        self._window = window

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
        """Send the output of the process and its exit code; return the close of the WebSocket."""
        try:
            async for data in self._call:
                await self._window.until_room()
                self._window.sent(len(data) - 1)  # without the byte of the channel
                await self._socket.send(BINARY, data)
            code = await self._call.result()
            await self._socket.send(TEXT, orjson.dumps({"exit": code if type(code) is int else None}))
        except CALL_ERRORS as error:
            return Closing(_FAILED, str(error))
        except ConnectionError:
            return Closing(GONE)
        return Closing(_DONE)

    async def _input(self) -> Closing:
        """Send the client's input to the process; return the close of the WebSocket if the client makes an error."""
        try:
            while True:
                opcode, payload = await self._socket.receive()
                if opcode == CLOSE:
                    return Closing(payload[0])
                if opcode == TEXT:
                    await self._control(payload)
                else:
                    await self._call.send(_of_channel(payload))
        except ProtocolError as error:
            return Closing(error.code, str(error))
        except CALL_ERRORS as error:
            return Closing(_FAILED, str(error))

    async def _control(self, text: str) -> None:
        """Act on a text message. ProtocolError if it is none of the protocol."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        match value:
            case {"resize": [int(), int()]} if len(value) == 1:
                await self._call.send(value)
            case {"ack": int(count)} if len(value) == 1 and type(count) is int:
                self._window.acknowledge(count)
            case _:
                raise ProtocolError('a text message is {"resize": [rows, cols]} or {"ack": bytes}', INVALID_PAYLOAD)


# --- the request ------------------------------------------------------------------------------------


def _handshake(request: web.Request) -> dict[str, str]:
    """Return the fields of the 101. RequestRefusedError 400 if the request is no handshake of this protocol."""
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
    return args, _environment(request), flag(request, "tty"), *size


def _environment(request: web.Request) -> dict[str, str] | None:
    """Return the variables that the process has beside those of the job."""
    term = request.query.get("term")
    if term is not None and _is_term(term) is None:
        raise RequestRefusedError(400, "term must be the name of a kind of terminal")
    return None if term is None else {"TERM": term}


def _window(request: web.Request) -> OutputWindow:
    size = number(request, "window", 0)
    if "window" in request.query and not EXEC_WINDOW_MIN <= size <= EXEC_WINDOW_MAX:
        raise RequestRefusedError(400, f"window must be from {EXEC_WINDOW_MIN} to {EXEC_WINDOW_MAX}")
    return OutputWindow(size or None)


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
