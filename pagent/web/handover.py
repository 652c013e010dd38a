"""Requests that the router's front hands over to aiohttp: each is the last one of its connection.

The front has parsed their heads strictly. A request is judged by that head, not by aiohttp's own parse of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pagent.access.audit import AuditEntry
from pagent.errors import RequestRefusedError
from pagent.front.access_log import trace_id
from pagent.front.forwarded import request_id
from pagent.http1.fields import Framing
from pagent.http1.incoming import BadRequest, IncomingHead
from pagent.http1.incoming_body import IncomingBody
from pagent.http1.section import BLANK_LINE
from pagent.log import ACCESS_LOG
from pagent.net.link.link import Link
from pagent.net.port.options import FLUSH, RESET, set_linger
from pagent.router_limits import HALF_CLOSED_S, INCOMING_HEAD_MAX, REST_S
from pagent.rpc.directory import Client, Subject
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import first_of
from pagent.web.local import Handler, text
from pagent.web.route import is_v1

_log = logging.getLogger(__name__)
_access_log = logging.getLogger(ACCESS_LOG)

#: Of each answer of the API itself. The original router sends these two words in this order.
NEVER_CACHED: Final = {"Cache-Control": "no-store, must-revalidate", "Expires": "0"}
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}

#: Seconds that an answer under way may take when the router ends.
_SHUTDOWN_S: Final = 1.0


class HandedOver(RequestHandler):
    """aiohttp's protocol for one request. It answers with ``Connection: close``, and reads no second request.

    ``open_`` has it while it is connected. ``body_s``: seconds that the body of the request may make no progress.
    ``access_log``: whether the request is logged.
    """

    def __init__(
        self,
        server: web.Server,
        head: IncomingHead,
        client: Client,
        open_: set[HandedOver],
        *,
        body_s: float,
        access_log: bool,
    ) -> None:
        # With None, aiohttp logs no requests.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            # The front has checked the sizes of the head; aiohttp must not refuse a head that has passed.
            max_line_size=INCOMING_HEAD_MAX,
            max_field_size=INCOMING_HEAD_MAX,
            lingering_time=REST_S,
        )
        # For life.
        self.head = head
        self.client = client
        self.request_id = request_id(head)
        #: On whose behalf the request is made, once it has passed the gate.
        self.subject = Subject(None)
        #: Its line of the audit log, if it has one there.
        self.audit: AuditEntry | None = None
        self.body_s = body_s
        self._open = open_
        self._access_log = access_log
        self._began = time.time()
        # While connected.
        self._has_head = False
        has_body = head.framing is Framing.CHUNKED or head.length > 0
        #: The part of the request that was not received; None once the request is complete.
        self._body = IncomingBody(head, _discard) if has_body else None
        self._job: str | None = None
        #: Whether a part of the answer has been sent, or will be.
        self.is_answered = False
        #: Whether the client has ended its direction, and whether the answer then ends as well.
        self._has_ended = False
        self._ends_with_client = False
        #: Whether the client reads a reset if the connection ends now: an answer without a length that is under way.
        self._resets = False
        self._limit: asyncio.Timeout | None = None
        self._endless: asyncio.Timeout | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._open.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._has_head and self.head.method not in hdrs.METH_ALL:
            # aiohttp would call the request malformed; its routes then answer that they do not allow the method.
            data = hdrs.METH_TRACE.encode() + data[len(self.head.method) :]
        self._find_end(data)
        super().data_received(data)

    def _find_end(self, data: bytes) -> None:
        """Note the end of the request. aiohttp answers a body that is malformed."""
        at = 0 if self._has_head else data.find(BLANK_LINE) + len(BLANK_LINE)
        self._has_head = True
        with suppress(BadRequest):
            while self._body is not None:
                if self._body.feed(data, at) is not None:
                    self._body = None
                elif not self._body.more:
                    return
                data, at = b"", 0

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the answer if the client has ended its direction after a complete request."""
        self._has_ended = True
        transport = self.transport
        if transport is None or not transport.can_write_eof() or self._body is not None or self._ends_with_client:
            return False
        asyncio.get_running_loop().call_later(HALF_CLOSED_S, self._close_unanswered)
        return True

    def end_with_client(self) -> None:
        """Close the connection when the client ends its direction: the answer may have no end of its own."""
        self._ends_with_client = True
        if self._has_ended and self.transport is not None:
            self.transport.close()

    def _close_unanswered(self) -> None:
        """Close the connection if nothing of the answer has been sent: the client may be gone."""
        if self.transport is not None and not self.is_answered:
            self.transport.close()

    async def until_the_end(self, job: str | None, handling: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Return the answer of the handler, or 503 if the router ends before there is one; ``job``: for the log."""
        self._job = job
        self._limit = limit = asyncio.timeout(None)
        try:
            async with limit:
                return await handling
        except TimeoutError:
            if not limit.expired():
                raise
        if self.is_answered:
            raise ConnectionAbortedError("the router ends")
        return text("the router ends", status=503, headers={"Retry-After": "2"})

    @asynccontextmanager
    async def until_drained(self) -> AsyncIterator[None]:
        """End the block when the router begins to end: for an answer that has no end of its own."""
        self._endless = limit = asyncio.timeout(None)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._endless = None

    @property
    def _is_gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def drain(self) -> None:
        """End the answer under way if it has no end of its own."""
        if self._endless is not None and not self._endless.expired():
            self._endless.reschedule(asyncio.get_running_loop().time())

    async def drained(self) -> None:
        """Wait until the client has received most of the written bytes."""
        await self._drain_helper()

    def refuse(self) -> None:
        """End the request under way: with 503 if nothing of its answer has been sent, otherwise by a cut."""
        if self._limit is None:  # its head has not been handled yet
            self.force_close()
        elif not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def become(self, link: Link, answer: bytes) -> None:
        """Send ``answer`` (a 101), and make ``link`` the protocol of the connection."""
        transport = self.transport
        assert transport is not None
        transport.write(answer)
        transport.set_protocol(link)
        self.transport = None  # aiohttp would close it
        self.connection_lost(None)
        link.connection_made(transport)

    def reset_unless_complete(self) -> None:
        """Let the client read a reset from now on if the connection ends before the answer is complete."""
        if self.transport is not None:
            self._resets = True
            set_linger(self.transport, RESET)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        close_after(resp)
        finished = await super().finish_response(request, resp, start_time)
        if self._resets and self.transport is not None and not self.transport.is_closing():
            set_linger(self.transport, FLUSH)
        if self._access_log:
            self._log_request(request, resp)
        return finished

    def _log_request(self, request: BaseRequest, resp: web.StreamResponse) -> None:
        """Write the line of the access log, with the fields of one for job traffic (docs/router.rst, "Access log")."""
        line = {
            "time": round(self._began, 3),
            "id": self.request_id,
            "trace": trace_id(self.head),
            "client": self.client.address,
            "subject": self.subject.name,
            "agent": None,
            "job": self._job,
            "method": self.head.method,
            "path": self.head.target.partition("?")[0],
            "status": resp.status,
            "received": request.content.total_bytes,
            "sent": resp.body_length,
            "seconds": round(time.time() - self._began, 6),
            "cut": None,
        }
        _access_log.info("%s", json.dumps(line))

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that aiohttp refuses to parse, or an error that no handler expected.

        A client that is gone, or whose answer the router has cut off, gets no answer, and is no error.
        """
        if isinstance(exc, ConnectionError) and (self.is_answered or self._is_gone):
            raise ConnectionError(str(exc))
        if status >= 500:
            _log.error("%s %s failed", request.method, request.rel_url.raw_path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        return text("not a valid HTTP request" if status < 500 else "the request failed", status=status)


def close_after(response: web.StreamResponse) -> None:
    """Make an answer the last of its connection, and one that is never cached; before it is prepared."""
    response.force_close()
    response.headers["Connection"] = "close"
    for name, value in (NEVER_CACHED | _NOSNIFF).items():
        response.headers.setdefault(name, value)


async def _note_answer(request: web.Request, response: web.StreamResponse) -> None:
    """For ``on_response_prepare``."""
    protocol = request.protocol
    assert isinstance(protocol, HandedOver)
    protocol.is_answered = True
    if request.version < HttpVersion11 and "Content-Length" not in response.headers and request.method != "HEAD":
        protocol.reset_unless_complete()  # its end is that of the connection (RFC 9112 sections 6.3 and 8)
    if is_v1(request.path):
        response.headers["X-Request-Id"] = protocol.request_id


@web.middleware
async def until_the_end(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware: answer with 503 if the router ends before the handler."""
    protocol = request.protocol
    assert isinstance(protocol, HandedOver)
    return await protocol.until_the_end(request.match_info.get("job"), handler(request))


def _discard(piece: bytes | memoryview) -> None:
    """Take a piece of a body that is for aiohttp."""


async def body_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body of a request in pieces. RequestRefusedError 408 if it makes no progress."""
    protocol = request.protocol
    assert isinstance(protocol, HandedOver)
    while True:
        try:
            async with SilenceLimit(protocol.body_s):
                piece = await request.content.readany()
        except TimeoutError:
            raise RequestRefusedError(408, "the body of the request makes no progress") from None
        if not piece:
            return
        yield piece


class RouterWeb:
    """Runs the aiohttp application of a router, without a listener of its own."""

    def __init__(self, app: web.Application, *, body_s: float, access_log: bool = False) -> None:
        self._body_s = body_s
        self._access_log = access_log
        self._open: set[HandedOver] = set()
        app.on_response_prepare.append(_note_answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)

    @property
    def connections(self) -> int:
        """The number of connections whose request is not over."""
        return len(self._open)

    async def start(self) -> None:
        """Make it ready for :meth:`protocol`."""
        await self._runner.setup()

    def protocol(self, head: IncomingHead, client: Client) -> asyncio.Protocol:
        """Return the protocol of a connection whose next request is for the application."""
        server = self._runner.server
        assert server is not None
        return HandedOver(server, head, client, self._open, body_s=self._body_s, access_log=self._access_log)

    async def drain(self, over: asyncio.Event) -> None:
        """Let the requests under way end; those that are left when ``over`` is set get 503."""
        for connection in self._open:
            connection.drain()
        while self._open and not over.is_set():
            await first_of(next(iter(self._open)).closed, over)
        for connection in list(self._open):
            connection.refuse()

    async def close(self) -> None:
        """End the answers that are under way."""
        await self._runner.cleanup()
