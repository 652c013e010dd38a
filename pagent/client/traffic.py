"""HTTP, WebSocket and TCP traffic to the ports of a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pagent.client.calls import JobCalls, given
from pagent.client.http import Body, BodySender, Response, StreamedResponse, framed
from pagent.client.sockets import TcpStream, WebSocket
from pagent.errors import CallCancelledError
from pagent.limits import LISTEN_BACKLOG
from pagent.splice.tunnel import NearEnd
from pagent.wire import messages

Pairs = Sequence[tuple[str, str]]
Scheme = Literal["http", "https"]


class TrafficMethods(JobCalls):
    """``port`` is required for a job with several ports. MethodError ValueError: the job has no such port.

    ``scheme="https"`` is for a job that expects TLS. Its certificate is not verified.
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
        """Send a request and return the complete response (``http_request``).

        The options are those of :meth:`open_http`. Redirects are not followed. Status 502 may be the agent's: the job
        cannot be reached or its response is invalid, and the body has the reason. MethodError BrokenResponseError: the
        response was cut off.
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
        """Send a request with both bodies as streams (``http_request``). Yield when the response head has arrived.

        Leaving the block cancels a request that has not ended.

        :param path: decoded, like ``query``; the agent encodes them.
        :param body: bytes, or an async iterable of bytes that is sent while the response is read. Its exceptions are
            raised here.
        :param raw: ``path`` is the request target as on the wire, with the query; ``query`` is ignored. Bodies are not
            decoded. The response has interim responses and trailers. With ``Expect: 100-continue`` the body waits for
            the job's 100.
        :param upgrade: with ``raw``, offer the protocols of the ``Upgrade`` header. The response has a ``tunnel`` if
            the job has switched.
        """
        fields = framed(headers, body)
        options = given(raw=raw, upgrade=upgrade) | _given_target(port, scheme)
        async with self._stream(
            messages.BISTREAM, "http_request", method, path, _lists(query), fields, **options
        ) as call:
            sender = BodySender(call, body, waits=raw and _expects(fields))
            task = None
            if upgrade and isinstance(body, (bytes, bytearray, memoryview)) and not len(body):
                pass  # an end would close the direction of the new protocol
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
        """Open a WebSocket (``ws_connect``).

        Leaving the block without :meth:`WebSocket.close` cancels the call; the job receives a close with 1001.

        :param raw: ``path`` is the request target as on the wire, with the query; ``query`` is ignored.
        :raises MethodError: WSServerHandshakeError if the job refuses; the text has the status.
        """
        options = {"subprotocols": list(subprotocols)} | given(raw=raw) | _given_target(port, scheme)
        async with self._stream(
            messages.BISTREAM, "ws_connect", path, _lists(query), _lists(headers), **options
        ) as call:
            yield await WebSocket.of(call)

    @asynccontextmanager
    async def open_tcp(self, port: int | None = None, *, scheme: Scheme = "http") -> AsyncIterator[TcpStream]:
        """Open a TCP connection (``tcp_connect``). MethodError ConnectionRefusedError: the job does not listen.

        Leaving the block resets a connection that has not ended in both directions.
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
        """Listen on a local port, and forward each connection to the job's port (``tcp_connect``).

        Close the returned server to stop listening.

        :param job_port: required for a job with several ports; a function is called for each connection.
        :param start_serving: if False, the port is bound, and ``start_serving()`` of the server accepts connections.
        :raises OSError: the local port cannot be bound.
        """

        def accepted() -> asyncio.BaseProtocol:
            args = _given_target(job_port() if callable(job_port) else job_port, "http")
            return NearEnd(lambda: self._link.start_call(messages.BISTREAM, "tcp_connect", [self.uid], args)).port

        loop = asyncio.get_running_loop()
        return await loop.create_server(accepted, host, port, backlog=LISTEN_BACKLOG, start_serving=start_serving)


def _lists(pairs: Pairs) -> list[list[str]]:
    return [list(pair) for pair in pairs]


def _expects(fields: list[list[str]]) -> bool:
    return any(name.lower() == "expect" and value.strip().lower() == "100-continue" for name, value in fields)


def _given_target(port: int | None, scheme: Scheme) -> dict[str, Any]:
    """Return the options that differ from their defaults: an older agent has neither of them."""
    options: dict[str, Any] = {} if port is None else {"port": port}
    return options if scheme == "http" else options | {"scheme": scheme}
