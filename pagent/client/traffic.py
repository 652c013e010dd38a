"""What goes to and from the ports of a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pagent.client.calls import JobCalls, given
from pagent.client.http import Body, BodySender, Response, StreamedResponse, framed
from pagent.client.sockets import TcpStream, WebSocket
from pagent.errors import CallCancelledError
from pagent.splice.tunnel import NearEnd
from pagent.wire import messages

Pairs = Sequence[tuple[str, str]]
Scheme = Literal["http", "https"]


class TrafficMethods(JobCalls):
    """``port`` is only needed where a job has several. MethodError ValueError: the job has no such port.

    ``scheme="https"``: for a job that speaks TLS; its certificate is not verified.
    """

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
        scheme: Scheme = "http",
    ) -> Response:
        """``http_request``, the response as a whole; MethodError BrokenResponseError if the job broke it off.

        The options are those of :meth:`open_http`. Redirects are not followed. Status 502 may be the agent's own: the
        job could not be reached, or gave no valid answer; its body then says why.
        """
        options: dict[str, Any] = {"raw": raw, "port": port, "scheme": scheme}
        async with self.open_http(method, path, query, headers, body, **options) as response:
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
        upgrade: bool = False,
        port: int | None = None,
        scheme: Scheme = "http",
    ) -> AsyncIterator[StreamedResponse]:
        """``http_request`` with both bodies as streams; yields once the head of the response is there.

        ``path`` and ``query`` are decoded, the agent encodes them. ``body`` is bytes or an async iterable of them, sent
        while the response is read; what it raises is raised here. ``raw``: ``path`` is the request target as it stands
        on the wire (query included, ``query`` is not looked at), bodies are not decoded, interim responses and trailers
        are told, and with ``Expect: 100-continue`` the body waits for the job's 100. ``upgrade``, of a raw request: it
        offers the protocols of its ``Upgrade`` header; the response has a ``tunnel`` if the job has switched.
        Leaving the block gives the request up if it has not ended.
        """
        fields = framed(headers, body)
        options = given(raw=raw, upgrade=upgrade) | _given_target(port, scheme)
        async with self._stream(
            messages.BISTREAM, "http_request", method, path, _lists(query), fields, **options
        ) as call:
            sender = BodySender(call, body, waits=raw and _expects(fields))
            task = None
            if upgrade and isinstance(body, (bytes, bytearray, memoryview)) and not len(body):
                pass  # an end now would be that of what is sent in the other protocol
            elif sender.is_short:
                await sender.send()
            else:
                task = self._link.tasks.start(sender.send(), name="request body")
            try:
                response = await StreamedResponse.of(call, method, sender)
                yield response
                if response.tunnel is not None:
                    await response.tunnel.finish()
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
        raw: bool = False,
        port: int | None = None,
        scheme: Scheme = "http",
    ) -> AsyncIterator[WebSocket]:
        """``ws_connect``. MethodError WSServerHandshakeError: the job refuses, its status stands in the text.

        ``raw``: ``path`` is the request target as it stands on the wire (query included, ``query`` is not looked at).
        Leaving the block without :meth:`WebSocket.close` gives the call up; the job sees a close with 1001.
        """
        options = {"subprotocols": list(subprotocols)} | given(raw=raw) | _given_target(port, scheme)
        async with self._stream(
            messages.BISTREAM, "ws_connect", path, _lists(query), _lists(headers), **options
        ) as call:
            yield await WebSocket.of(call)

    @asynccontextmanager
    async def open_tcp(self, port: int | None = None, *, scheme: Scheme = "http") -> AsyncIterator[TcpStream]:
        """``tcp_connect``: raw bytes both ways. MethodError ConnectionRefusedError: nothing listens there.

        Leaving the block resets the connection if it has not ended in both directions: the job sees that it was broken
        off.
        """
        async with self._stream(messages.BISTREAM, "tcp_connect", **_given_target(port, scheme)) as call:
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
            args = _given_target(job_port() if callable(job_port) else job_port, "http")
            return NearEnd(lambda: self._link.start_call(messages.BISTREAM, "tcp_connect", [self.uid], args)).port

        loop = asyncio.get_running_loop()
        return await loop.create_server(accepted, host, port, start_serving=start_serving)


def _lists(pairs: Pairs) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def _expects(fields: list[list[str]]) -> bool:
    return any(name.lower() == "expect" and value.strip().lower() == "100-continue" for name, value in fields)


def _given_target(port: int | None, scheme: Scheme) -> dict[str, Any]:
    """An agent that is not ours knows only the one port of a job, and only HTTP."""
    options: dict[str, Any] = {} if port is None else {"port": port}
    return options if scheme == "http" else options | {"scheme": scheme}
