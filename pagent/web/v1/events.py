"""``GET /v1/events``: server-sent events on changes of agents, jobs and tickets (docs/api.rst, "Events")."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from pagent.errors import RequestRefusedError
from pagent.router_limits import EVENT_STALLED_S, EVENT_STREAMS_MAX
from pagent.rpc.directory import Gate, Lease, Subject
from pagent.runtime.silence import SilenceLimit
from pagent.web.admission import handed_over, subject_of
from pagent.web.handover import HandedOver, close_after
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.event_log import KEEPALIVE_S, EventLog
from pagent.web.v1.queries import flag
from pagent.web.v1.samples import SampleStream

#: Bytes that may wait in the connection of a slow reader before no more are written.
_WAITING_MAX: Final = 16 * 1024
_RETRY_S: Final = "5"
_COMMENT: Final = b":\n"
_FIELDS: Final = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


class EventRoutes:
    """Sends the events to the clients of one listener. Agents are visible to every caller that may read."""

    def __init__(self, feed: EventFeed, gate: Gate) -> None:
        self._gate = gate
        self._log = feed.log
        self._samples = feed.samples

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events until the client goes, the token is revoked, or the router ends."""
        has_samples = flag(request, "samples")
        if self._log.streams >= EVENT_STREAMS_MAX:
            raise RequestRefusedError(503, f"{EVENT_STREAMS_MAX} streams of events are open", retry_after_s=5)
        lease = self._lease(request)
        try:
            with self._log.stream():
                if not has_samples:
                    return await self._send(request, None)
                with self._samples.stream(self._gate, subject_of(request)) as samples:
                    return await self._send(request, samples)
        finally:
            if lease is not None:
                lease.release()

    def _lease(self, request: web.Request) -> Lease | None:
        """Count the stream against the quota of the token. RequestRefusedError 429."""
        transport = request.transport
        assert transport is not None
        return self._gate.lease(subject_of(request), transport.abort, stream=True)

    async def _send(self, request: web.Request, samples: SampleStream | None) -> web.StreamResponse:
        http, log = handed_over(request), self._log
        given = request.headers.get("Last-Event-ID") or request.query.get("after")
        number = log.last if not given else log.number_of(given)
        position = log.id_of(log.last if number is None else number)
        fields = {**_FIELDS, "X-Request-Id": http.request_id, "X-Pagent-Event-Id": position}
        response = web.StreamResponse(headers=fields)
        close_after(response)
        await response.prepare(request)
        if request.method != "HEAD":
            if http.transport is None:  # the client has gone meanwhile
                return response
            http.transport.set_write_buffer_limits(_WAITING_MAX)
            http.end_with_client()
            try:
                await _EventStream(log, self._gate, http, response, subject_of(request), samples).run(number)
            except ConnectionError:
                if http.transport is not None:
                    http.transport.abort()
        return response


class _EventStream:
    """One stream."""

    def __init__(
        self,
        log: EventLog,
        gate: Gate,
        http: HandedOver,
        response: web.StreamResponse,
        subject: Subject,
        samples: SampleStream | None,
    ) -> None:
        self._log = log
        self._gate = gate
        self._http = http
        self._response = response
        self._subject = subject
        self._samples = samples
        self._sent_at = time.monotonic()

    async def run(self, number: int | None) -> None:
        """Send the events after a number, and those that follow; None: an id that is not known."""
        async with self._http.until_drained():
            while True:
                piece = None if number is None else self._log.after(number, self._gate, self._subject)
                if piece is None:
                    number = self._log.last
                    await self._write(self._log.reset())
                elif piece.last == number:
                    await self._idle()
                else:
                    number = piece.last
                    if piece.data:
                        await self._write(piece.data)

    async def _idle(self) -> None:
        if self._samples is not None and (pieces := self._samples.take()):
            for piece in pieces:
                await self._write(piece)
            return
        if time.monotonic() - self._sent_at >= KEEPALIVE_S:
            await self._write(_COMMENT)
        await self._log.news(sampled=self._samples is not None)

    async def _write(self, data: bytes) -> None:
        """Write after the client has received the bytes before. ConnectionError if it does not read, or is gone."""
        if self._http.writing_paused:
            try:
                async with SilenceLimit(EVENT_STALLED_S):
                    await self._http.drained()
            except TimeoutError:
                raise ConnectionAbortedError from None
        await self._response.write(data)
        self._sent_at = time.monotonic()
