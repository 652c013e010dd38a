"""Requests that the router's front hands over to aiohttp: each is the last one of its connection.

Their heads have been read strictly by the front. A request is judged by that head, not by what aiohttp makes of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Final

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from pagent.errors import RequestRefusedError
from pagent.http1.incoming import IncomingHead
from pagent.limits import HALF_CLOSED_S, INCOMING_HEAD_MAX, REST_S
from pagent.log import ACCESS_LOG
from pagent.net.link.link import Link
from pagent.rpc.directory import Client
from pagent.web.local import text

_log = logging.getLogger(__name__)
_access_log = logging.getLogger(ACCESS_LOG)

#: Of each answer of the API itself. The original router sends these two words in this order.
NEVER_CACHED: Final = {"Cache-Control": "no-store, must-revalidate", "Expires": "0"}
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}

#: How long an answer that is under way may take when the router ends.
_SHUTDOWN_S: Final = 1.0


class HandedOver(RequestHandler):
    """aiohttp's protocol for one request. It answers with ``Connection: close``, and reads no second request.

    ``body_s``: seconds that the body of the request may make no progress. ``access_log``: whether it is logged.
    """

    def __init__(
        self, server: web.Server, head: IncomingHead, client: Client, *, body_s: float, access_log: bool
    ) -> None:
        # With None, aiohttp logs no requests.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            # The front has judged the sizes of the head; aiohttp must not refuse what it has let pass.
            max_line_size=INCOMING_HEAD_MAX,
            max_field_size=INCOMING_HEAD_MAX,
            lingering_time=REST_S,
        )
        self.head = head
        self.client = client
        self.body_s = body_s
        self._access_log = access_log
        self._began = time.time()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the answer if the client has ended its direction after a complete request."""
        transport = self.transport
        if transport is None or not transport.can_write_eof() or not self._is_complete:
            return False
        asyncio.get_running_loop().call_later(HALF_CLOSED_S, self._close_unanswered)
        return True

    @property
    def _is_complete(self) -> bool:
        """Whether the body of the request has come, or there is none."""
        if self._current_request is not None:
            return self._current_request.content.is_eof()
        return all(payload.is_eof() for _, payload in self._messages)

    def _close_unanswered(self) -> None:
        """Close the connection if nothing of the answer has been sent: the client may be gone."""
        request = self._current_request
        if self.transport is not None and request is not None and not request.writer.output_size:
            self.transport.close()

    def become(self, link: Link, answer: bytes) -> None:
        """Send ``answer`` (a 101), and make ``link`` the protocol of the connection."""
        transport = self.transport
        assert transport is not None
        transport.write(answer)
        transport.set_protocol(link)
        self.transport = None  # aiohttp would close it
        self.connection_lost(None)
        link.connection_made(transport)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        close_after(resp)
        finished = await super().finish_response(request, resp, start_time)
        if self._access_log:
            self._log_request(request, resp)
        return finished

    def _log_request(self, request: BaseRequest, resp: web.StreamResponse) -> None:
        """Write the line of the access log, with the fields of one for job traffic (docs/router.rst, "Access log")."""
        match = getattr(request, "match_info", None)
        line = {
            "time": round(self._began, 3),
            "id": self.head.request_id or None,
            "client": self.client.address,
            "subject": None,
            "agent": None,
            "job": match.get("job") if match is not None else None,
            "method": self.head.method,
            "path": self.head.target.partition("?")[0],
            "status": resp.status,
            "received": request.content.total_bytes,
            "sent": resp.body_length,
            "seconds": round(time.time() - self._began, 6),
            "cut": None,
        }
        _access_log.info("%s", orjson.dumps(line).decode())

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what aiohttp does not take for a request, or an error that no handler expected."""
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


async def body_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body of a request as it comes. RequestRefusedError 408 if it makes no progress."""
    protocol = request.protocol
    assert isinstance(protocol, HandedOver)
    while True:
        try:
            async with asyncio.timeout(protocol.body_s):
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
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)

    async def start(self) -> None:
        """Make it ready for :meth:`protocol`."""
        await self._runner.setup()

    def protocol(self, head: IncomingHead, client: Client) -> asyncio.Protocol:
        """Return the protocol of a connection whose next request is for the application."""
        server = self._runner.server
        assert server is not None
        return HandedOver(server, head, client, body_s=self._body_s, access_log=self._access_log)

    async def close(self) -> None:
        """End the answers that are under way."""
        await self._runner.cleanup()
