"""Connections of the agent's own HTTP endpoints. aiohttp gets one request at a time.

aiohttp parses a request when its head is complete, and makes the response, also to an invalid request. This module
bounds what aiohttp does not: the length of a head, the requests in memory, and the responses that wait for a
client that does not read. A connection is kept open for the next request while its place at the connection gate is not
needed.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import re
from typing import Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pagent.limits import HANDSHAKE_MAX, LINGER_S
from pagent.net.accept.place import Place
from pagent.net.authority import peer_text
from pagent.net.link.link import Link
from pagent.web.local import HEADERS, text

_log = logging.getLogger(__name__)

_head_end: Final = re.compile(rb"\n\r?\n").search
#: Matches a head that announces a body that is not empty.
_announces_body: Final = re.compile(
    rb"\n(?:transfer-encoding[ \t]*:|content-length[ \t]*:(?![ \t]*0+[ \t]*\r?\n))", re.I
).search
#: Match the first byte of a method (RFC 9110 section 5.6.2), and a request line.
_is_token: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]").match
_is_request: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]\r?\n").match
_TLS_RECORD: Final = b"\x16"

_INVALID_REQUEST: Final = "not a valid HTTP request"


class EndpointState(enum.Enum):
    WAITING = enum.auto()  # for the end of a request head
    RESPONDING = enum.auto()
    ENDING = enum.auto()  # the last response is sent
    CLOSED = enum.auto()  # lost, or handed over to a link


class HttpConnection(asyncio.Protocol):
    """One connection. ``server`` makes aiohttp's handler at the first request."""

    def __init__(self, place: Place, server: web.Server) -> None:
        # For life.
        self._place = place
        self._server = server
        self._loop = asyncio.get_running_loop()
        # While connected.
        self._state = EndpointState.WAITING
        self._transport: asyncio.Transport | None = None
        self._handler: _Handler | None = None
        self._received = bytearray()
        self._searched = 0  # bytes of it without the end of a head
        self._ended = False  # the client has closed its direction
        self._paused = False
        # For the current request.
        self._has_body = False

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._place.opened(self._transport)

    def data_received(self, data: bytes) -> None:
        self._place.heard()
        if self._state is EndpointState.ENDING and not self._has_body:
            return
        if self._has_body and self._handler is not None:
            self._handler.data_received(data)
            return
        self._received += data
        if self._state is EndpointState.WAITING:
            self._next_request()
        else:
            self._set_paused(len(self._received) >= HANDSHAKE_MAX)

    def eof_received(self) -> bool | None:
        self._ended = True
        assert self._transport is not None
        # A response is still to be sent. TLS has no half-close.
        return self._state is EndpointState.RESPONDING and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.leave()
        self._state = EndpointState.CLOSED
        self._received.clear()
        if self._handler is not None:
            self._handler.connection_lost(exc)
            self._handler = None

    # --- requests ---------------------------------------------------------------------------------

    def _next_request(self) -> None:
        """Give the next head to aiohttp, if it is complete."""
        if self._state is not EndpointState.WAITING or self._transport is None:
            return
        received = self._received
        while received.startswith((b"\r", b"\n")):  # RFC 9112 2.2
            del received[:1]
        found = _head_end(received, max(0, self._searched - 2))
        if received and not _is_token(received):
            self._refuse_protocol()
        elif found is not None and found.end() <= HANDSHAKE_MAX and _is_request(received):
            self._begin(found.end())
        elif found is not None or len(received) >= HANDSHAKE_MAX:
            self._refuse()
        elif self._ended:
            self._transport.close()
        else:
            self._searched = len(received)
        self._set_paused(len(received) >= HANDSHAKE_MAX)

    def _begin(self, end: int) -> None:
        head = bytes(self._received[:end])
        self._has_body = _announces_body(head) is not None
        if self._has_body:
            head = bytes(self._received)
            end = len(head)
        del self._received[:end]
        self._searched = 0
        self._state = EndpointState.RESPONDING
        self._place.answering()
        if self._handler is None:
            self._handler = _Handler(self._server, self)
            self._handler.connection_made(cast(asyncio.Transport, self._transport))
        self._handler.data_received(head)

    def _refuse_protocol(self) -> None:
        assert self._transport is not None
        if self._received.startswith(_TLS_RECORD):
            _log.warning(
                "%s: closed a TLS connection: this port does not use TLS (pagent help port-without-tls)", self._peer
            )
            self._transport.abort()
        else:
            self._refuse()

    def _refuse(self) -> None:
        """Refuse a request without aiohttp, and close. Input is discarded, so that it does not reset the connection."""
        assert self._transport is not None
        fields = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": len(_INVALID_REQUEST),
            "Connection": "close",
        }
        lines = [f"{name}: {value}" for name, value in {**fields, **HEADERS}.items()]
        self._transport.write("\r\n".join(["HTTP/1.1 400 Bad Request", *lines, "", _INVALID_REQUEST]).encode())
        self._state = EndpointState.ENDING
        self._place.ending()
        self._received.clear()
        if self._ended or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self._loop.call_later(LINGER_S, self._transport.abort)

    # --- for responses ----------------------------------------------------------------------------

    @property
    def is_last(self) -> bool:
        """Whether the current response is the last one of the connection."""
        return self._has_body or self._place.is_scarce or (self._ended and not self._received)

    def response_sent(self, *, kept: bool) -> None:
        """Continue with the next request if the connection is ``kept``, otherwise end the connection."""
        if self._state is not EndpointState.RESPONDING or self._transport is None:
            return
        if not kept:
            self._state = EndpointState.ENDING
            self._place.ending()
            if self._ended:
                self._transport.close()
            return
        self._state = EndpointState.WAITING
        self._place.restart()
        if self._received or self._ended:
            self._loop.call_soon(self._next_request)

    def hand_over(self, link: Link, response: bytes) -> bytes:
        """Send ``response`` (a 101), and make ``link`` the transport's protocol. Return bytes after the head."""
        transport, handler = self._transport, self._handler
        assert transport is not None
        assert handler is not None
        received = bytes(self._received)
        self._received.clear()
        self._set_paused(False)
        self._state = EndpointState.CLOSED
        transport.write(response)
        transport.set_protocol(link)
        handler.transport = None  # otherwise the handler closes it
        handler.connection_lost(None)
        self._place.handed_over()
        link.connection_made(transport)
        return received

    @property
    def place(self) -> Place:
        return self._place

    def _set_paused(self, on: bool) -> None:
        """Pause or resume reading."""
        if on is not self._paused and self._transport is not None:
            self._paused = on
            self._place.paused(on)
            if on:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @property
    def _peer(self) -> str:
        return peer_text(self._transport.get_extra_info("peername") if self._transport else None)


class _Handler(RequestHandler):
    """aiohttp's part of a connection. All responses pass it: those of routes, of middleware and of aiohttp."""

    def __init__(self, server: web.Server, connection: HttpConnection) -> None:
        # With None, aiohttp logs no requests.
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
        self._connection = connection

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        for name, value in HEADERS.items():
            resp.headers.setdefault(name, value)
        if self._connection.is_last or resp.keep_alive is False or not request.keep_alive:
            resp.force_close()
            resp.headers["Connection"] = "close"  # aiohttp omits it for HTTP/1.0
        finished = await super().finish_response(request, resp, start_time)
        if not finished[1]:
            await request.writer.drain()  # the next request waits until the client reads this response
            self._connection.response_sent(kept=bool(resp.keep_alive))
        return finished

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response to an invalid request, or to one that has failed; none for a client that is gone."""
        if isinstance(exc, ConnectionError) and (self.transport is None or self.transport.is_closing()):
            raise ConnectionError(str(exc))
        if status >= 500:
            _log.error("%s %s failed", request.method, request.rel_url.raw_path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        response = text(_INVALID_REQUEST if status < 500 else "the request failed", status=status)
        response.force_close()
        return response
