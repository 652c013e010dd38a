"""The body of a request: pass its pieces to the exchange, or discard the rest of it.

Back pressure of the agent pauses the reading of the client. A client that sends no piece of the body in time is
refused.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from pagent.errors import RequestRefusedError
from pagent.front.access_log import CLIENT
from pagent.front.client_socket import ClientSocket
from pagent.front.context import FrontContext
from pagent.front.deadlines import NEVER
from pagent.front.proxy_header import ProxyHeader
from pagent.front.states import ClientState
from pagent.http1.incoming import BadRequest
from pagent.http1.incoming_body import IncomingBody
from pagent.router_limits import REST_MAX, REST_S
from pagent.runtime.deferred import FRAMES_WORK

# As in pagent.http1: every read compares with these.
_BODY: Final = ClientState.BODY
_DRAINING: Final = ClientState.DRAINING


class ClientBody(ClientSocket):
    """Read the body of the request under way, in the states ``BODY`` and ``DRAINING``."""

    __slots__ = ("_body",)

    def __init__(self, context: FrontContext, proxied: ProxyHeader | None) -> None:
        super().__init__(context, proxied)
        # Of the request that is answered; None if it has no body, or if its body was read.
        self._body: IncomingBody | None = None

    @abstractmethod
    def _refuse(self, error: RequestRefusedError, *, keep: bool, unread: bool = False) -> None:
        """Answer the request with an error."""

    @abstractmethod
    def _answer_done(self) -> None:
        """Read the next request: the answer is sent, and its request was read."""

    @abstractmethod
    def _handle_rest(self, data: bytes, at: int) -> None:
        """Handle the bytes of ``data`` from ``at``, which follow the head or the body."""

    def _read_body(self, data: bytes, at: int) -> None:
        body = self._body
        assert body is not None
        try:
            end = body.feed(data, at)
        except BadRequest as error:
            self._fail_body(error)
            return
        if self._state is ClientState.GONE or self._state is ClientState.ENDING:
            return
        if end is None:
            self._await_body(body)
        else:
            self._end_body(body)
            self._handle_rest(data, end)

    def _await_body(self, body: IncomingBody) -> None:
        """Wait for the next piece, within the limits of time and, for a body that is discarded, of size."""
        if body.more:
            self.port.defer(self._read_more, FRAMES_WORK)
        if self._state is _DRAINING and self._rest > REST_MAX:
            self._end(unread=True)
        elif self._state is _BODY and self.deadline != NEVER:
            self.deadline = self._loop.time() + self._context.body_s

    def _end_body(self, body: IncomingBody) -> None:
        self._body = None
        if self._state is not _BODY:
            self._answer_done()
            return
        self._enter(ClientState.ANSWERING)
        self.deadline = NEVER
        if self._exchange is not None:
            self._exchange.end_body(body.trailers)
        self.port.resume_reading()  # the last piece of the body may have paused it

    def _read_more(self) -> None:
        if self._body is not None and (self._state is _BODY or self._state is _DRAINING):
            self._read_body(b"", 0)

    def _body_piece(self, piece: bytes | memoryview) -> None:
        if self._exchange is not None:
            self._exchange.send_body(piece)
        else:
            self._rest += len(piece)

    def _fail_body(self, error: RequestRefusedError) -> None:
        """End a request whose body is malformed or does not arrive in time."""
        exchange, self._exchange = self._exchange, None
        self._body = None
        is_answered = exchange is None or exchange.head_sent
        if exchange is not None:
            exchange.abandon(str(error))
        if is_answered:
            self._note(exchange.status if exchange is not None else 0, exchange, CLIENT)
            self._leave()
            self.port.abort()
        else:
            self._refuse(error, keep=False, unread=True)

    def _drain(self) -> None:
        """Read the rest of the request's body, up to a limit: a close with unread bytes would reset the connection."""
        self._enter(_DRAINING)
        self._rest = 0
        self.deadline = self._loop.time() + REST_S
        self.port.resume_reading()

    # --- from the exchange ------------------------------------------------------------------------

    def body_blocked(self) -> None:
        if self._state is _BODY:
            self.deadline = NEVER
            self.port.pause_reading()

    def body_writable(self) -> None:
        if self._state is _BODY:
            self.deadline = self._loop.time() + self._context.body_s
            self.port.resume_reading()
