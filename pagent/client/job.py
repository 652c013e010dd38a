"""A job of an agent, and the streams to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from pagent.client.files import FileMethods
from pagent.errors import CallCancelledError, LinkClosedError
from pagent.limits import READY_TIMEOUT_S
from pagent.rpc.aio import StreamCall
from pagent.rpc.connection import Connection
from pagent.splice.tunnel import NearEnd
from pagent.wire import messages

Info = dict[str, Any]
Bytes = bytes | bytearray | memoryview


class Response(NamedTuple):
    """A whole HTTP response; ``headers`` are pairs, repeated names and their order kept."""

    status: int
    headers: list[list[str]]
    body: bytes


class RemoteJob(FileMethods):
    """A job. Each method is the RPC method of its name; errors of the job come as MethodError with their class name."""

    def __init__(self, link: Connection, info: Info) -> None:
        super().__init__(link, info["uid"])
        self.name: str = info["name"]

    # --- life -------------------------------------------------------------------------------------

    async def start(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        *,
        port_expected_count: int = 1,
        forward_stdout: bool = False,
        port: int | Literal["auto"] | None = None,
        ready: Literal["report", "connect"] = "report",
        ready_timeout: float | None = None,
        timeout: float | None = None,
    ) -> Info:
        """``job_start``; waits until the job is ready. With ``port='auto'`` ``{port}`` in ``args`` is its port.

        Times are seconds. MethodError: ProcessStartTimeoutError, ProcessExitedError, FileNotFoundError and others.
        """
        environment = None if env is None else dict(env)
        arguments: list[Any] = [list(args), environment, cwd, port_expected_count, forward_stdout]
        if (port, ready, ready_timeout, timeout) != (None, "report", None, None):  # an agent that is not ours has none
            arguments += [port, ready, READY_TIMEOUT_S if ready_timeout is None else ready_timeout, timeout]
        info: Info = await self._call("job_start", *arguments)
        return info

    async def wait(self) -> Info:
        """``job_wait``: the info once the process has ended."""
        info: Info = await self._call("job_wait")
        return info

    async def info(self) -> Info:
        """``job_info``."""
        info: Info = await self._call("job_info")
        return info

    async def kill(self, signal: str = "TERM", grace: float = 5.0) -> Info:
        """``job_kill``: KILL follows after ``grace`` seconds."""
        info: Info = await self._call("job_kill", signal, grace)
        return info

    async def remove(self) -> Info:
        """``job_remove``: the info from before; its processes and its sandbox are gone."""
        info: Info = await self._call("job_remove")
        return info

    # --- streams ----------------------------------------------------------------------------------

    async def logs(
        self, stream: Literal["stdout", "stderr"] = "stdout", *, offset: int = 0, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """``job_logs``: what the job has written from ``offset`` on; with ``follow`` until it has ended."""
        async with self._stream(messages.ISTREAM, "job_logs", stream, offset, follow) as call:
            async for chunk in call:
                yield bytes(chunk)
            await call.result()

    @asynccontextmanager
    async def exec(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
    ) -> AsyncIterator[Exec]:
        """``job_exec``: a second process in the sandbox, ended behind the block if it still runs."""
        environment = None if env is None else dict(env)
        async with self._stream(messages.BISTREAM, "job_exec", list(args), environment, tty, rows, cols) as call:
            yield Exec(call)

    async def http(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        """``http_request``, with whole bodies. MethodError if the response broke off."""
        async with self._stream(messages.BISTREAM, "http_request", method, path, list(query), list(headers)) as call:
            if body:
                await call.send(body)
            await call.send(b"")
            status = await call.receive()
            fields = await call.receive()
            parts = [part async for part in call if part is not False]
            await call.result()
            return Response(status, fields, b"".join(parts))

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
        *,
        subprotocols: Sequence[str] = (),
    ) -> AsyncIterator[WebSocket]:
        """``ws_connect``. MethodError: WSServerHandshakeError with the job's status if it refuses."""
        options = {"subprotocols": list(subprotocols)}
        async with self._stream(messages.BISTREAM, "ws_connect", path, list(query), list(headers), **options) as call:
            opened = await call.receive()
            if not isinstance(opened, dict):
                await call.result()
                raise LinkClosedError(1002, "an unexpected answer to ws_connect")
            yield WebSocket(call, opened["subprotocol"])

    async def forward(self, host: str = "127.0.0.1", port: int = 0, *, job_port: int | None = None) -> asyncio.Server:
        """Listen locally, and carry each connection's bytes to the job's port (``tcp_connect``).

        Close the returned server to stop listening. OSError if the local port cannot be had.
        """
        args = {} if job_port is None else {"port": job_port}

        def accepted() -> asyncio.Protocol:
            return NearEnd(lambda: self._link.start_call(messages.BISTREAM, "tcp_connect", [self.uid], args)).port

        return await asyncio.get_running_loop().create_server(accepted, host, port)


class Exec:
    """A process of ``job_exec``: iterate over its output."""

    def __init__(self, call: StreamCall) -> None:
        self._call_ = call

    def __aiter__(self) -> StreamCall:
        return self._call_

    async def write(self, data: Bytes) -> None:
        """Input for the process."""
        if data:
            await self._call_.send(data)

    async def end_input(self) -> None:
        """No more input."""
        await self._call_.send(b"")

    async def resize(self, rows: int, cols: int) -> None:
        """The terminal has a new size."""
        await self._call_.send({"resize": [rows, cols]})

    async def wait(self) -> int:
        """Its exit code, minus the number of the signal if one ended it; output that was not read is dropped."""
        code: int = await self._call_.result()
        return code


class WebSocket:
    """A WebSocket to a job: iterate over its messages, str or bytes."""

    def __init__(self, call: StreamCall, subprotocol: str | None) -> None:
        self._call_ = call
        self.subprotocol = subprotocol

    def __aiter__(self) -> StreamCall:
        return self._call_

    async def send(self, message: str | Bytes) -> None:
        await self._call_.send(message)

    async def receive(self) -> str | Bytes:
        """The next message; CallCancelledError once the job has closed."""
        message = await self._call_.receive()
        if message is None:
            raise CallCancelledError("the WebSocket is closed")
        value: str | Bytes = message
        return value

    async def close(self) -> tuple[int, str]:
        """Close with 1000, or learn how the job has closed: code and reason."""
        self._call_.close()
        outcome = await self._call_.result()
        return outcome["code"], outcome["reason"]
