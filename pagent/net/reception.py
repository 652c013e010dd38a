"""The first bytes of an accepted connection, before an HTTP server has to deal with it.

HTTP servers wait for the head of a request as long as it takes. A stranger may take ten seconds and 64 KiB for it, and
only so many strangers at once (spec agent.md, "Who may").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from pagent.limits import HANDSHAKE_MAX, HANDSHAKE_TIMEOUT_S, HANDSHAKES_WAITING

_log = logging.getLogger(__name__)

_BLANK_LINE: Final = b"\r\n\r\n"


class Reception:
    """Makes protocols for ``create_server``; ``serve`` makes the one that gets the connection with its first head."""

    def __init__(self, serve: Callable[[], asyncio.Protocol]) -> None:
        self.serve: Final = serve
        self.waiting: set[asyncio.Transport] = set()

    def __call__(self) -> asyncio.Protocol:
        return _FirstHead(self)

    def close(self) -> None:
        """Drop those that have not said yet what they want."""
        for transport in list(self.waiting):
            transport.abort()


class _FirstHead(asyncio.Protocol):
    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._reception.waiting) >= HANDSHAKES_WAITING:
            _log.warning("a connection is dropped: %d wait for their first request already", HANDSHAKES_WAITING)
            self._transport.abort()
            return
        self._reception.waiting.add(self._transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        seen = max(0, len(self._head) - len(_BLANK_LINE) + 1)
        self._head += data
        if self._head.find(_BLANK_LINE, seen) >= 0:
            self._hand_over(self._transport)
        elif len(self._head) >= HANDSHAKE_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._leave()
        protocol = self._reception.serve()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(bytes(self._head))

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._reception.waiting.discard(self._transport)
