"""One connection of a user: parse its requests, and start an exchange with an agent for each request to a job.

Requests are answered one after the other. Bytes that a client sends ahead are kept up to a limit, then its socket is
not read. A request that is not for a job hands the whole connection over to the HTTP API (aiohttp). Everything
happens in callbacks, except that the wait for a job or a link that may come within seconds is a task.
"""

from __future__ import annotations

from typing import Final

from pagent.errors import LinkClosedError, NotYetError, RequestRefusedError
from pagent.front.access_log import AGENT, ROUTER, AccessEntry
from pagent.front.client_body import ClientBody
from pagent.front.client_socket import ending_error
from pagent.front.context import FrontContext
from pagent.front.deadlines import NEVER
from pagent.front.exchange_user import Tunnel
from pagent.front.forwarded import request_id
from pagent.front.proxy_header import ProxyHeader
from pagent.front.routes import JobTarget
from pagent.front.states import ClientState
from pagent.http1.fields import Framing
from pagent.http1.incoming import BadRequest, IncomingHead, read_head
from pagent.http1.incoming_body import IncomingBody
from pagent.http1.section import BLANK_LINE
from pagent.http1.target import encode_target_bytes
from pagent.net.port.connection import PortConnection
from pagent.router_limits import HALF_CLOSED_S, INCOMING_AHEAD_MAX
from pagent.rpc.directory import AgentLink

_SWITCHING_PROTOCOLS: Final = 101
_TIMEOUT: Final = 408
_NO_BODY: Final = Framing.NONE

# As in pagent.http1: every read compares with these.
_HEAD: Final = ClientState.HEAD
_BODY: Final = ClientState.BODY
_ANSWERING: Final = ClientState.ANSWERING
_DRAINING: Final = ClientState.DRAINING


class UserConnection(ClientBody):
    """The user of one :class:`~pagent.net.port.PortConnection` that was accepted.

    :param proxied: the header of the PROXY protocol that it began with.
    """

    __slots__ = ("_admitted", "_job", "_keep", "_request_id", "port")

    def __init__(self, context: FrontContext, proxied: ProxyHeader | None = None) -> None:
        super().__init__(context, proxied)
        self.port = PortConnection(self, self._accepted)
        # Of the request that is answered.
        self._admitted = False
        self._job: JobTarget | None = None
        self._request_id = ""
        self._keep = False

    # --- from the client --------------------------------------------------------------------------

    def port_data(self, data: bytes) -> None:
        state = self._state
        if state is _HEAD and not self._ahead:
            self._read_head(data, 0)
        elif state is _BODY or state is _DRAINING:
            self._read_body(data, 0)
        elif state is ClientState.ENDING:
            self._discard(len(data))
        elif state is not ClientState.GONE:
            self._hold(data)

    def port_eof(self) -> None:
        self._eof = True
        state = self._state
        if state is _ANSWERING or state is ClientState.WAITING:
            # The client may have ended its direction only. If it is gone, a write fails.
            self.deadline = self._loop.time() + HALF_CLOSED_S
        elif state is _BODY:
            has_begun = self._exchange is not None and self._exchange.head_sent
            self._lose("the client ended the connection within the request's body")
            if has_begun:  # the part of the answer that was sent must not look complete
                self.port.abort()
            else:
                self.port.close()
        elif not self._ahead:
            self._close()

    def port_blocked(self) -> None:
        if self._exchange is not None:
            self._exchange.port_blocked()

    def port_writable(self) -> None:
        if self._exchange is not None:
            self._exchange.port_writable()
        else:
            self._next()

    def port_lost(self, error: Exception | None) -> None:
        self._lose("the client is gone")

    # --- requests ---------------------------------------------------------------------------------

    def _read_head(self, data: bytes, at: int) -> None:
        began = self._buffer.started
        try:
            cut = self._buffer.cut(data, at)
            head = read_head(cut[0]) if cut is not None else None
        except BadRequest as error:
            self._head, self._request_id = None, ""
            self._refuse(error, keep=False, unread=True)
            return
        if cut is not None and head is not None:
            self._take_request(head, cut[0], data, cut[1])
        elif self._buffer.started and not began:
            self.deadline = self._loop.time() + self._context.head_s

    def _take_request(self, head: IncomingHead, block: bytes, data: bytes, at: int) -> None:
        """Route a request: its head is ``block``, and the bytes of ``data`` from ``at`` follow it."""
        self._head = head
        if self._context.deadlines.draining:
            head.keep_alive = False
        self._request_id = request_id(head)
        self._takes_interim = head.minor == 1
        if self._context.access_log:
            self._entry = AccessEntry(head, self._client, self._request_id)
        if head.framing is not _NO_BODY and (head.length or head.framing is Framing.CHUNKED):
            self._body = IncomingBody(head, self._body_piece)
        self._admitted = False
        try:
            self._job = job = self._context.route(head)
            if job is None:
                received = block if head.is_ascii else encode_target_bytes(block)
                self._hand_over(head, received + BLANK_LINE + data[at:])
                return
            self._admit(head, job)
            self._begin(self._context.directory.find(job.job), data, at)
        except (NotYetError, LinkClosedError):
            self._wait(data, at)
        except RequestRefusedError as error:
            self._refuse(error, keep=head.keep_alive)
            self._handle_rest(data, at)

    def _admit(self, head: IncomingHead, job: JobTarget) -> None:
        """Check the request at the gate, and add the router's own fields.

        RequestRefusedError if the gate refuses the request. NotYetError if the job is not known yet: the request
        is admitted when it is.
        """
        gate, entry = self._context.gate, self._entry
        if entry is not None:
            entry.job = job
        subject = gate.judge(self._context.operation, job.job, head, self._client)
        if entry is not None:
            entry.subject = subject.name
        if subject.name is not None:
            self._lease = gate.lease(subject, self.drop, stream=True)
            gate.conceal(head, self._context.operation)
        self._context.add_fields(head, self._client, job.prefix, self._request_id)
        self._admitted = True

    def _hand_over(self, head: IncomingHead, received: bytes) -> None:
        """Hand the connection over to the HTTP API, with the bytes that were read."""
        self._leave()
        protocol = self._context.fallback(head, self._client)
        self.port.hand_over(protocol, received)
        if self._eof:
            protocol.eof_received()

    def _begin(self, link: AgentLink, data: bytes, at: int) -> None:
        """Start the exchange, and pass it the bytes of the body that have arrived."""
        head, job = self._head, self._job
        assert head is not None
        assert job is not None
        if self._entry is not None:
            self._entry.agent = link.uid
        exchange = self._context.exchange(self, head, link)
        exchange.start(link, job)
        self._exchange = exchange
        self._enter(_ANSWERING if self._body is None else _BODY)
        self.deadline = NEVER if self._body is None else self._loop.time() + self._context.body_s
        self._handle_rest(data, at)

    def _handle_rest(self, data: bytes, at: int) -> None:
        state = self._state
        if state is _BODY or state is _DRAINING:
            if at < len(data):
                self._read_body(data, at)
        elif at < len(data) and state is not ClientState.GONE:
            self._ahead = data[at:] + self._ahead
            if state is _HEAD:
                self._loop.call_soon(self._next)
            elif len(self._ahead) >= INCOMING_AHEAD_MAX:
                self.port.pause_reading()

    # --- waiting for a link or a job --------------------------------------------------------------

    def _wait(self, data: bytes, at: int) -> None:
        self._enter(ClientState.WAITING)
        self.deadline = NEVER
        self._handle_rest(data, at)
        if self._context.deadlines.draining:
            self._refuse_held(ending_error())
            return
        self._waiting = self._context.tasks.start(self._wait_for_link(), name="wait for a job")

    async def _wait_for_link(self) -> None:
        head, job = self._head, self._job
        assert head is not None
        assert job is not None
        try:
            link = await self._context.directory.wait_for(job.job)
            if not self._admitted:
                self._admit(head, job)
            self._waiting = None
            ahead, self._ahead = self._ahead, b""
            self.port.resume_reading()
            self._begin(link, ahead, 0)
        except RequestRefusedError as error:
            self._refuse_held(error)
        except LinkClosedError:
            self._refuse_held(RequestRefusedError(503, "the link to the agent was lost", retry_after_s=2))

    def _refuse_held(self, error: RequestRefusedError) -> None:
        self._waiting = None
        ahead, self._ahead = self._ahead, b""
        self.port.resume_reading()
        self._refuse(error, keep=self._head is not None and self._head.keep_alive)
        self._handle_rest(ahead, 0)

    # --- answers ----------------------------------------------------------------------------------

    def answered(self, keep: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and (self._entry is not None or self._lease is not None):
            self._note(exchange.status, exchange, None)
        self._keep = keep
        if self._state is _BODY:
            self._drain()
        elif self._state is not ClientState.GONE:
            self._answer_done()

    def failed(self, error: RequestRefusedError) -> None:
        self._exchange = None
        self._refuse(error, keep=self._head is not None and self._head.keep_alive)

    def cut(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._note(exchange.status if exchange is not None else 0, exchange, AGENT)
        self._leave()
        self.port.abort()

    def _refuse(self, error: RequestRefusedError, *, keep: bool, unread: bool = False) -> None:
        """Answer the request with an error.

        ``keep``: the connection may be used for another request. ``unread``: the rest of this one cannot be
        separated from the next.
        """
        if self._state is ClientState.GONE:
            return
        keep = keep and self._body is None
        self._note(error.status, None, ROUTER)
        self.port.write(self._context.refusal(error, self._head, self._job, self._request_id, keep=keep))
        self._keep = keep
        if self._body is not None:
            self._drain()
        elif unread:
            self._end(unread=True)
        else:
            self._answer_done()

    def _answer_done(self) -> None:
        """Read the next request: the answer is sent, and its request was read."""
        if not self._keep:
            self._end(unread=False)
            return
        self._enter(_HEAD)
        self._head = self._job = None
        self._progress = -1
        self.deadline = self._loop.time() + self._context.deadlines.idle_s
        if self._ahead or self._eof:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Read the next request of those that the client has sent ahead."""
        if self._state is not _HEAD or self.port.blocked:
            return
        ahead, self._ahead = self._ahead, b""
        self.port.resume_reading()
        if ahead:
            self._read_head(ahead, 0)
        if self._eof and self._state is _HEAD and not self._ahead:
            self._close()

    # --- upgrades ---------------------------------------------------------------------------------

    def switched(self, tunnel: Tunnel) -> None:
        # A tunnel may last for days, so the objects of its request are released.
        self._exchange = self._head = self._job = None
        self._request_id = ""
        self._enter(ClientState.GONE)
        self.deadline = NEVER
        ahead, self._ahead = self._ahead, b""
        self.port.user = tunnel
        self.port.reset_unless_closed()  # a tunnel that breaks must not look like one that ends
        self.port.resume_reading()
        tunnel.start(self.port)
        if self._context.deadlines.draining:
            self.drain()
            return
        if ahead:
            tunnel.port_data(ahead)
        if self._eof:
            tunnel.port_eof()

    def tunnel_ended(self) -> None:
        self._note(_SWITCHING_PROTOCOLS, None, None)
        self._leave()

    # --- time -------------------------------------------------------------------------------------

    def expired(self) -> None:
        """Close an idle connection, refuse a late head or body, check a client that has ended its direction."""
        state = self._state
        if state is _HEAD and not self._buffer.started:
            self._close()
        elif state is _HEAD:
            error = RequestRefusedError(_TIMEOUT, "the request's head did not come in time")
            self._refuse(error, keep=False, unread=True)
        elif state is _BODY:
            self._fail_body(RequestRefusedError(_TIMEOUT, "the request's body made no progress"))
        elif state is _ANSWERING or state is ClientState.WAITING:
            self._check_half_closed()
        else:
            self._close()
