"""Noticing that the peer of a link is dead, and that a slow one is not (docs/contract.rst, "Loss").

A ping every ten seconds keeps data under way in both directions. The kernel then tells the difference: data that is not
even acknowledged, or a window probe without an answer, means that nobody is there; data that is acknowledged late means
that somebody is slow. Behind a peer's kernel that still answers, silence for 90 s is death too.

The kernel asks a peer whose window is shut ever less often, in the end every two minutes. Where it can be told (Linux
6.15) it is told to ask every ten seconds, so that such a peer is not missed for longer than any other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pagent.limits import PING_INTERVAL_S, RETRANSMIT_WAIT_MAX_S, RETRANSMITS_MAX, SILENCE_MAX_S, UNANSWERED_MAX_S

_log = logging.getLogger(__name__)

#: ``struct tcp_info`` of linux/tcp.h begins with bytes: state, ca_state, retransmits, probes.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_RETRANSMITS: Final = 2
_PROBES: Final = 3
#: ``TCP_RTO_MAX_MS`` of linux/tcp.h, milliseconds; the socket module does not know it yet.
_RTO_MAX_MS: Final = 44


class Liveness:
    """Pings through ``ping()`` and calls ``dead(reason)`` once. Set :attr:`heard` whenever bytes arrive."""

    def __init__(self, transport: asyncio.Transport, ping: Callable[[], None], dead: Callable[[str], None]) -> None:
        self.heard = False
        self._transport = transport
        self._ping = ping
        self._dead = dead
        self._loop = asyncio.get_running_loop()
        self._last_heard = self._last_ping = self._last_answered = self._loop.time()
        self._timer = self._loop.call_later(PING_INTERVAL_S / 2, self._check)
        ask_often(transport)

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        if self.heard:
            self.heard = False
            self._last_heard = now
        silence = now - self._last_heard
        unanswered = unanswered_segments(self._transport)
        if unanswered >= RETRANSMITS_MAX:
            self._dead(f"the peer is gone: {unanswered} retransmissions without an answer")
            return
        # A living peer's kernel answers within a round trip: a look sees that now and then, not each time.
        if not unanswered:
            self._last_answered = now
        elif now - self._last_answered > UNANSWERED_MAX_S:
            self._dead(f"the peer is gone: its kernel has not answered for {now - self._last_answered:.0f} s")
            return
        if silence > SILENCE_MAX_S:
            self._dead(f"the peer is gone: not a byte for {silence:.0f} s")
            return
        if now - self._last_ping > PING_INTERVAL_S * 0.9:
            self._last_ping = now
            self._ping()
        self._timer = self._loop.call_later(PING_INTERVAL_S / 2, self._check)


def ask_often(transport: asyncio.BaseTransport) -> None:
    """Have the kernel wait no longer than :data:`RETRANSMIT_WAIT_MAX_S` before it asks a silent peer again.

    Nothing where it cannot be told so.
    """
    if not sys.platform.startswith("linux"):
        return  # the number means something else there
    with _kernel_socket(transport) as sock:
        if sock is not None:
            with suppress(OSError):  # ENOPROTOOPT: an older kernel; EOPNOTSUPP: not TCP
                sock.setsockopt(socket.IPPROTO_TCP, _RTO_MAX_MS, int(RETRANSMIT_WAIT_MAX_S * 1000))


def unanswered_segments(transport: asyncio.BaseTransport) -> int:
    """How often the kernel has sent the oldest unacknowledged segment again, or probed a closed window, in vain.

    0 where the kernel does not tell.
    """
    if _TCP_INFO is None:
        return 0
    with _kernel_socket(transport) as sock:
        if sock is None:
            return 0
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 8)
        except OSError as error:
            _log.debug("no TCP_INFO: %s", error)
            return 0
    return max(info[_RETRANSMITS], info[_PROBES])


@contextmanager
def _kernel_socket(transport: asyncio.BaseTransport) -> Iterator[socket.socket | None]:
    """The transport's socket as one that has options: uvloop's object has none of its own. None if it has none."""
    pseudo = transport.get_extra_info("socket")
    if pseudo is None:
        yield None
        return
    sock = socket.socket(fileno=pseudo.fileno())
    try:
        yield sock
    finally:
        sock.detach()
