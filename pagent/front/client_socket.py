"""The client's end of a connection: bytes that the client sends ahead, and the end of the connection.

A connection that is closed while bytes of the client are unread is reset by the kernel, and the last answer with it. So
after an answer that ends a connection early, bytes from the client are discarded for a moment (RFC 9112 9.6).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final

from pagent.errors import RequestRefusedError
from pagent.front.access_log import CLIENT, ROUTER, AccessEntry
from pagent.front.answers import CONTINUE
from pagent.front.context import FrontContext
from pagent.front.deadlines import NEVER
from pagent.front.exchange import Exchange
from pagent.front.exchange_user import ExchangeUser
from pagent.front.proxy_header import ProxyHeader
from pagent.front.states import NEXT, ClientState
from pagent.front.websocket import BrowserSocket
from pagent.http1.incoming import IncomingHead
from pagent.http1.incoming_buffer import HeadBuffer
from pagent.router_limits import HALF_CLOSED_S, INCOMING_AHEAD_MAX, REST_MAX, REST_S
from pagent.rpc.directory import Client, Lease
from pagent.runtime.iteration import current_iteration

_UNKNOWN: Final = Client("", 0, False, False, 0)

ROUTER_ENDS: Final = "the router ends"
_SERVICE_UNAVAILABLE: Final = 503
_RETRY_S: Final = 2
#: The field Accept of a browser's EventSource.
EVENT_STREAM: Final = "text/event-stream"


def ending_error() -> RequestRefusedError:
    """Return the answer to a request that the router's end leaves unanswered."""
    return RequestRefusedError(_SERVICE_UNAVAILABLE, ROUTER_ENDS, retry_after_s=_RETRY_S)


class ClientSocket(ExchangeUser):
    """The base of :class:`~pagent.front.user.UserConnection`: the state, bytes sent ahead, and the end."""

    __slots__ = (
        "_ahead",
        "_buffer",
        "_client",
        "_context",
        "_entry",
        "_eof",
        "_exchange",
        "_head",
        "_is_used",
        "_lease",
        "_loop",
        "_progress",
        "_proxied",
        "_rest",
        "_state",
        "_takes_interim",
        "_waiting",
        "deadline",
        "iteration",
    )

    def __init__(self, context: FrontContext, proxied: ProxyHeader | None) -> None:
        # For life.
        self._context = context
        self._proxied = proxied
        self._loop = asyncio.get_running_loop()
        self.iteration = current_iteration()
        self._client = _UNKNOWN
        # While connected.
        self._state = ClientState.HEAD
        self._is_used = False  # whether the client has made a request, valid or not
        self.deadline = NEVER
        self._buffer = HeadBuffer()
        self._ahead = b""
        self._eof = False
        # Of the request that is answered.
        self._head: IncomingHead | None = None
        self._entry: AccessEntry | None = None
        self._lease: Lease | None = None
        self._exchange: Exchange | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._rest = 0
        self._progress = -1
        self._takes_interim = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way. A part of the next head may have been received."""
        return self._state is ClientState.HEAD and not self._ahead

    @abstractmethod
    def expired(self) -> None:
        """Act on a deadline that has passed."""

    @abstractmethod
    def port_data(self, data: bytes) -> None:
        """Handle bytes from the client."""

    def _note(self, status: int, exchange: Exchange | None, cut: str | None) -> None:
        """Release the request under way, and write its line of the access log; do nothing if there is none."""
        entry, self._entry = self._entry, None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()
        if entry is None:
            return
        if exchange is None:
            entry.write(status, 0, 0, cut)
        else:
            entry.write(status, exchange.received, exchange.sent, cut)

    @abstractmethod
    def _refuse_held(self, error: RequestRefusedError) -> None:
        """Answer the request that waits with an error."""

    # --- the end of the router --------------------------------------------------------------------

    def drain(self) -> None:
        """Make the request under way, or the next one, the last; close a tunnel."""
        tunnel = self.port.user
        if isinstance(tunnel, BrowserSocket):
            tunnel.go_away()
        elif not isinstance(tunnel, ClientSocket):
            tunnel.port_lost(ConnectionAbortedError(ROUTER_ENDS))
            self.port.close()
        elif self.is_idle and not self._buffer.started:
            self.deadline = self._loop.time() + self._context.deadlines.idle_s
        elif self._state is ClientState.WAITING:
            self.refuse()
        elif self._exchange is not None and self._exchange.head.value("accept") == EVENT_STREAM:
            self.refuse()  # an event stream does not end by itself, and browsers connect again
        elif self._exchange is not None:
            self._exchange.make_last()

    def refuse(self) -> None:
        """End the request under way: with 503 if no byte of its answer has been sent, otherwise by a cut."""
        error = ending_error()
        exchange = self._exchange
        if self._head is not None:
            self._head.keep_alive = False
        if exchange is not None:
            exchange.make_last()
            if exchange.head_sent:
                self._note(exchange.status, exchange, ROUTER)
            exchange.end_early(error)
        elif self._waiting is not None:
            self._waiting.cancel()
            self._refuse_held(error)

    def drop(self) -> None:
        """Close the connection at once, and cancel the request under way."""
        tunnel = self.port.user
        if not isinstance(tunnel, ClientSocket):
            tunnel.port_lost(ConnectionAbortedError(ROUTER_ENDS))
        self.port.abort()
        self._lose(ROUTER_ENDS)

    # --- states -----------------------------------------------------------------------------------

    def _enter(self, state: ClientState) -> None:
        if state not in NEXT[self._state]:
            raise RuntimeError(f"a user's connection goes from {self._state.name} to {state.name}")
        self._state = state
        if not self._is_used:
            self._is_used = True
            self._context.deadlines.used(self)

    def _accepted(self) -> None:
        self._client = self._context.client_of(self.port, self._proxied)
        self._context.deadlines.add(self)
        self.deadline = self._loop.time() + self._context.deadlines.idle_s

    def _lose(self, reason: str) -> None:
        self._leave()
        exchange, self._exchange = self._exchange, None
        self._note(exchange.status if exchange is not None else 0, exchange, CLIENT)
        if exchange is not None:
            exchange.abandon(reason)
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _leave(self) -> None:
        self._enter(ClientState.GONE)
        self._ahead = b""
        self._context.deadlines.discard(self)

    def _close(self) -> None:
        """Close the connection after all written bytes are sent."""
        self._leave()
        self.port.close()

    def _hold(self, data: bytes) -> None:
        """Keep bytes that the client sends ahead, and pause reading at the limit."""
        self._ahead += data
        if len(self._ahead) >= INCOMING_AHEAD_MAX:
            self.port.pause_reading()

    def _end(self, *, unread: bool) -> None:
        """End the connection after its last answer. ``unread``: the client may send more of this request."""
        self._waiting = None
        if self._eof or not (self._ahead or unread):
            self._close()
            return
        self._enter(ClientState.ENDING)
        self._ahead = b""
        self._rest = 0
        self.deadline = self._loop.time() + REST_S
        self.port.write_eof()
        self.port.resume_reading()

    def _discard(self, size: int) -> None:
        self._rest += size
        if self._rest > REST_MAX:
            self._close()

    def _check_half_closed(self) -> None:
        """Check whether a client that has ended its direction still reads.

        It does while the answer makes progress. Otherwise the connection is lost.
        """
        progress = self._exchange.progress if self._exchange is not None else 0
        self.deadline = self._loop.time() + HALF_CLOSED_S
        if progress != self._progress:
            self._progress = progress
            if progress == 0 and self._takes_interim:
                # Clients skip an interim answer (RFC 9110 15.2). If the client is gone, its host resets the connection.
                self.port.write(CONTINUE)
        elif progress == 0 and not self.port.has_failed():
            self.deadline = NEVER
        elif not self.port.blocked:
            self._lose("the client is gone")
            self.port.abort()
