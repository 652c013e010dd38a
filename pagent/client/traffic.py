"""What goes to and from the ports of a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pagent.client.calls import JobCalls, given
from pagent.client.http import Body, BodySender, Response, StreamedResponse
from pagent.client.sockets import TcpStream, WebSocket
from pagent.errors import CallCancelledError
from pagent.splice.tunnel import NearEnd
from pagent.wire import messages

Pairs = Sequence[tuple[str, str]]


class TrafficMethods(JobCalls):
    """``port`` is only needed where a job has several. MethodError ValueError: the job has no such port."""

    async def http(
        self,
        method: str,
        path: str,
        query: Pairs = (),
        headers: Pairs = (),
        body: Body = b"",
        *,
        raw: bool = False,
        port: int | None = None,
    ) -> Response:
        """``http_request``, the response as a whole; MethodError BrokenResponseError if the job broke it off.

        The options are those of :meth:`open_http`. Redirects are not followed. Status 502 without a header: the job
        could not be reached, or gave no valid answer.
        """
        async with self.open_http(method, path, query, headers, body, raw=raw, port=port) as response:
            return Response(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def open_http(
        self,
        method: str,
        path: str,
        query: Pairs = (),
        headers: Pairs = (),
        body: Body = b"",
        *,
        raw: bool = False,
        port: int | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """``http_request`` with both bodies as streams; yields once the head of the response is there.

        ``path`` and ``query`` are decoded, the agent encodes them. ``body`` is bytes or an async iterable of them, sent
        while the response is read; what it raises is raised here. ``raw``: ``path`` is the request target as it stands
        on the wire (query included, ``query`` is not looked at), bodies are not decoded, trailers are told.
        Leaving the block gives the request up if it has not ended.
        """
        arguments = (method, path, _lists(query), _lists(headers))
        options = given(raw=raw) | _given_port(port)
        async with self._stream(messages.BISTREAM, "http_request", *arguments, **options) as call:
            sender = BodySender(call, body)
            task = None
            if sender.is_short:
                await sender.send()
            else:
                task = self._link.tasks.start(sender.send(), name="request body")
            try:
                yield await StreamedResponse.of(call, method)
            except CallCancelledError:
                if sender.error is None:
                    raise
                raise sender.error from None
            finally:
                if task is not None:
                    task.cancel()

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        query: Pairs = (),
        headers: Pairs = (),
        *,
        subprotocols: Sequence[str] = (),
        port: int | None = None,
    ) -> AsyncIterator[WebSocket]:
        """``ws_connect``. MethodError WSServerHandshakeError: the job refuses, its status stands in the text.

        Leaving the block without :meth:`WebSocket.close` gives the call up; the job sees a close with 1001.
        """
        options = {"subprotocols": list(subprotocols)} | _given_port(port)
        async with self._stream(
            messages.BISTREAM, "ws_connect", path, _lists(query), _lists(headers), **options
        ) as call:
            yield await WebSocket.of(call)

    @asynccontextmanager
    async def open_tcp(self, port: int | None = None) -> AsyncIterator[TcpStream]:
        """``tcp_connect``: raw bytes both ways. MethodError ConnectionRefusedError: nothing listens there.

        Leaving the block resets the connection if it has not ended in both directions: the job sees that it was broken
        off.
        """
        async with self._stream(messages.BISTREAM, "tcp_connect", **_given_port(port)) as call:
            tcp = await TcpStream.of(call)
            yield tcp
            await tcp.finish()

    async def forward(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        job_port: int | Callable[[], int] | None = None,
        start_serving: bool = True,
    ) -> asyncio.Server:
        """Listen locally, and carry each connection's bytes to the job's port (``tcp_connect``).

        ``job_port``: only needed where a job has several; a function is asked at each connection.
        Close the returned server to stop listening. OSError if the local port cannot be had. Without ``start_serving``
        the port is taken, and connections are accepted from the server's own ``start_serving()`` on.
        """

        def accepted() -> asyncio.BaseProtocol:
            args = _given_port(job_port() if callable(job_port) else job_port)
            return NearEnd(lambda: self._link.start_call(messages.BISTREAM, "tcp_connect", [self.uid], args)).port

        loop = asyncio.get_running_loop()
        return await loop.create_server(accepted, host, port, start_serving=start_serving)


def _lists(pairs: Pairs) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def _given_port(port: int | None) -> dict[str, Any]:
    """An agent that is not ours knows only the one port of a job."""
    return {} if port is None else {"port": port}
