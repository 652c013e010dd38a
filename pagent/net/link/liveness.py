"""Detect that the peer of a link is dead, and that a slow one is not (docs/contract.rst, "Loss").

A ping every ten seconds keeps data under way in both directions, and the kernel then knows the difference. Data that is
not even acknowledged, or a window probe without an answer, means that the peer is gone. Data that is acknowledged late
means that the peer is slow. If the peer's kernel still answers, silence of the peer for 90 s is death too.

A stall of this process is no silence of the peer: no ping was sent meanwhile, and what the peer has sent is not read.

The kernel probes a peer whose window is shut ever less often, in the end every two minutes. Where its interval can be
set (Linux 6.15) it is ten seconds, so that such a peer is detected as soon as any other.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from pagent.limits import PING_INTERVAL_S, RETRANSMIT_WAIT_MAX_S, RETRANSMITS_MAX, SILENCE_MAX_S, UNANSWERED_MAX_S
from pagent.runtime.silence import SilenceTimer

_log = logging.getLogger(__name__)

#: ``struct tcp_info`` of linux/tcp.h begins with bytes: state, ca_state, retransmits, probes.
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_RETRANSMITS: Final = 2
_PROBES: Final = 3
#: ``TCP_RTO_MAX_MS`` of linux/tcp.h, milliseconds; the socket module does not have it yet.
_RTO_MAX_MS: Final = 44


class Received(Protocol):
    """Counts the bytes that a link receives."""

    received_bytes: int


class Liveness:
    """Pings through ``ping()``, and calls ``dead(reason)`` once if the peer is dead.

    :param received: its ``received_bytes`` grows whenever bytes arrive.
    """

    def __init__(
        self, transport: asyncio.Transport, received: Received, ping: Callable[[], None], dead: Callable[[str], None]
    ) -> None:
        # For life.
        self._transport = transport
        self._received = received
        self._ping = ping
        self._dead = dead
        self._loop = asyncio.get_running_loop()
        # At the last check.
        self._received_bytes = received.received_bytes
        self._checked = self._last_received = self._last_ping = self._last_acknowledged = self._loop.time()
        self._timer = SilenceTimer(PING_INTERVAL_S / 2, self._check)
        limit_retransmit_wait(transport)

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        self._exclude_stall(now)
        if (reason := self._reason_of_death(now)) is not None:
            self._dead(reason)
            return
        if now - self._last_ping > PING_INTERVAL_S * 0.9:
            self._last_ping = now
            self._ping()
        self._timer = SilenceTimer(PING_INTERVAL_S / 2, self._check)

    def _exclude_stall(self, now: float) -> None:
        """Count no stall of this process since the last check as silence of the peer.

        The timer waits twice after a stall. The second wait counts, so that a peer of a busy process is judged in time.
        """
        stall = now - self._checked - PING_INTERVAL_S
        if stall > 0:
            self._last_received += stall
            self._last_acknowledged += stall
        self._checked = now

    def _reason_of_death(self, now: float) -> str | None:
        if self._received.received_bytes != self._received_bytes:
            self._received_bytes = self._received.received_bytes
            self._last_received = now
        unanswered = unanswered_segments(self._transport)
        if not unanswered:  # the kernel of a living peer answers within a round trip, so most checks see 0
            self._last_acknowledged = now
        if unanswered >= RETRANSMITS_MAX:
            return f"the peer is gone: {unanswered} retransmissions without an answer"
        if (silence := now - self._last_acknowledged) > UNANSWERED_MAX_S:
            return f"the peer is gone: its kernel has not answered for {silence:.0f} s"
        if (silence := now - self._last_received) > SILENCE_MAX_S:
            return f"the peer is gone: not a byte for {silence:.0f} s"
        return None


def limit_retransmit_wait(transport: asyncio.BaseTransport) -> None:
    """Have the kernel probe a silent peer at least every :data:`RETRANSMIT_WAIT_MAX_S`, where it can be set."""
    if not sys.platform.startswith("linux"):
        return  # the number means another option there
    with _kernel_socket(transport) as sock:
        if sock is not None:
            with suppress(OSError):  # ENOPROTOOPT: an older kernel; EOPNOTSUPP: not TCP
                sock.setsockopt(socket.IPPROTO_TCP, _RTO_MAX_MS, int(RETRANSMIT_WAIT_MAX_S * 1000))


def unanswered_segments(transport: asyncio.BaseTransport) -> int:
    """Return how often the kernel has resent the oldest unacknowledged segment, or probed a shut window, unanswered.

    0 where the kernel does not report it.
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
    """Yield the transport's socket as an object with options, which uvloop's has not; None without a socket."""
    pseudo = transport.get_extra_info("socket")
    if pseudo is None:
        yield None
        return
    sock = socket.socket(fileno=pseudo.fileno())
    try:
        yield sock
    finally:
        sock.detach()
