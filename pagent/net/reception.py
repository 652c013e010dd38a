"""Accepted connections of HTTP servers, from their first byte until they are closed or become something else.

HTTP servers wait for the head of a request as long as it takes, and for the rest of a body that nobody wants. A
stranger may take ten seconds and 64 KiB for a head, and only so many strangers are here at once (spec agent.md, "Who
may"): each keeps its place until its connection is gone, or somebody else's, as a link is. Links that wait for their
handshake are strangers still, and have their places in the lobby.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from pagent.limits import HANDSHAKE_MAX, HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING
from pagent.net.link import Link
from pagent.net.lobby import Lobby

_log = logging.getLogger(__name__)

_BLANK_LINE: Final = b"\r\n\r\n"


class Reception:
    """Makes protocols for ``create_server``; ``serve`` makes the one that gets the connection with its first head."""

    def __init__(self, serve: Callable[[], asyncio.Protocol], lobby: Lobby) -> None:
        self.serve: Final = serve
        self._lobby = lobby
        self._visitors: set[_Visitor] = set()

    def __call__(self) -> asyncio.Protocol:
        return _Visitor(self)

    @property
    def waiting(self) -> int:
        """How many connections are here."""
        return len(self._visitors)

    def enter(self, visitor: _Visitor) -> bool:
        """Whether there is room for one more."""
        if self.waiting + len(self._lobby) >= HANDSHAKES_WAITING:
            return False
        self._visitors.add(visitor)
        return True

    def leave(self, visitor: _Visitor) -> None:
        self._visitors.discard(visitor)

    def close(self) -> None:
        """Drop those that have not said yet what they want, and those in the lobby."""
        for visitor in list(self._visitors):
            visitor.close()
        self._lobby.close()


class _Visitor(asyncio.Protocol):
    """One connection. What a server does with it behind its head goes through here, so that its end is seen."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head = bytearray()
        self._server: asyncio.Protocol | None = None

    def close(self) -> None:
        if self._server is None and self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._reception.enter(self):
            _log.warning("a connection is dropped: %d that are not known yet are here already", HANDSHAKES_WAITING)
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._server is not None:
            self._server.data_received(data)
            return
        assert self._transport is not None
        seen = max(0, len(self._head) - len(_BLANK_LINE) + 1)
        self._head += data
        if self._head.find(_BLANK_LINE, seen) >= 0:
            self._serve(self._transport)
        elif len(self._head) >= HANDSHAKE_MAX:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        return None if self._server is None else self._server.eof_received()

    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.pause_writing()

    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave(exc)

    def taken_over(self) -> None:
        """Somebody else has the connection now. For the server it is gone: it keeps nothing of it."""
        self._leave(None)

    def _leave(self, exc: Exception | None) -> None:
        self._reception.leave(self)
        self._stop_timer()
        if self._server is not None:
            self._server.connection_lost(exc)

    def _serve(self, transport: asyncio.Transport) -> None:
        self._stop_timer()
        self._server = self._reception.serve()
        self._server.connection_made(transport)
        self._server.data_received(bytes(self._head))
        self._head.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def take_over(transport: asyncio.Transport, link: Link, answer: bytes) -> None:
    """Send the 101 to a visitor, and hand the socket to ``link``."""
    visitor = transport.get_protocol()
    assert isinstance(visitor, _Visitor)
    transport.write(answer)
    transport.set_protocol(link)
    visitor.taken_over()
    link.connection_made(transport)
    transport.resume_reading()
