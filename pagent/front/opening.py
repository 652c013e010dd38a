"""Accept connections of users, and open them: after a header of the PROXY protocol, a TLS handshake, or both.

The event loop's own servers read a connection, or begin its TLS handshake, as soon as it is accepted, and do not say
that a handshake goes on or has failed. Where no descriptor is left, they try again at once, all the time, or close
connections that wait. So connections are accepted here, are sockets until their header has come, and count as
connections of users from the start.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from pagent.front.context import FrontContext
from pagent.front.forwarded import plain_address
from pagent.front.proxy_header import ProxyHeader, receive_proxy_header
from pagent.net.accept.accepting import ACCEPT_RETRY_S, ShortageError, accept_one
from pagent.net.tls import accepting_fault

_log = logging.getLogger(__name__)

#: Makes the protocol of a connection.
Serve = Callable[[ProxyHeader | None], asyncio.Protocol]


class OpeningConnection:
    """One connection until it is opened: until then it counts as an idle one that was not used.

    :param has_header: whether it has to begin with a header.
    """

    def __init__(
        self, context: FrontContext, sock: socket.socket, serve: Serve, tls: Mapping[str, Any], *, has_header: bool
    ) -> None:
        deadlines = self._deadlines = context.deadlines
        self._socket = sock
        self._serve = serve
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + context.head_s
        deadlines.add(self)
        self._opening = context.tasks.start(self._open(has_header), name="open a connection")
        # It may be cancelled before it has begun.
        self._opening.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._deadlines.discard(self)
        if task.cancelled():
            self._socket.close()

    async def _open(self, has_header: bool) -> None:
        try:
            header = await receive_proxy_header(self._socket) if has_header else None
            await self._loop.connect_accepted_socket(lambda: self._protocol(header), self._socket, **self._tls)
        except ValueError as error:
            _log.info("a connection of a proxy is closed: %s", error)
            self._socket.close()
        except OSError as error:
            _log.info("a connection is closed: %s", accepting_fault(error))
            self._socket.close()

    def _protocol(self, header: ProxyHeader | None) -> asyncio.Protocol:
        """Return the protocol of the connection. It is counted itself as soon as it is connected."""
        if self._tls.get("ssl") is None:
            self._deadlines.discard(self)
        return self._serve(header)

    @property
    def is_idle(self) -> bool:
        return True

    def expired(self) -> None:
        self.drop()

    def drop(self) -> None:
        self._opening.cancel()

    def drain(self) -> None:
        self.deadline = self._loop.time() + self._deadlines.idle_s

    def refuse(self) -> None:
        self.drop()


class OpeningSocket:
    """Accepts on one listening socket. With the PROXY protocol peers that are trusted proxies have to send a header.

    :param tls: options of the event loop for TLS; none without it.
    :param has_room: whether one more connection may be open.
    """

    def __init__(
        self,
        context: FrontContext,
        listening: socket.socket,
        serve: Serve,
        tls: Mapping[str, Any],
        has_room: Callable[[], bool],
    ) -> None:
        self._context = context
        self._has_room = has_room
        self._listening = listening
        self._serve = serve
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Accept no more."""
        if self._retry is None:
            self._loop.remove_reader(self._listening)
        else:
            self._retry.cancel()
        self._listening.close()

    def _resume(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        try:
            accepted = accept_one(self._listening)
        except ShortageError:
            self._loop.remove_reader(self._listening)
            self._retry = self._loop.call_later(ACCEPT_RETRY_S, self._resume)
            return
        if accepted is None:
            return
        sock, address = accepted
        if not self._has_room():
            sock.close()
            return
        has_header = self._context.proxy_protocol and self._context.trusts(plain_address(address))
        OpeningConnection(self._context, sock, self._serve, self._tls, has_header=has_header)
