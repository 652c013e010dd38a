"""The events of a router that are kept for clients, and the waking of the streams that send them.

Each event has a number. A stream keeps only the number of the last event that it has passed, so a slow reader takes no
memory here: once what it has not read is not kept any more, it gets ``reset``. An event is encoded when the first
stream needs it, and streams of the same subject at the same place share the encoded bytes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from pagent.router_limits import EVENTS_KEPT, EVENTS_KEPT_BYTES
from pagent.rpc.directory import Gate, JobFacts, Subject
from pagent.web.answers import packed
from pagent.web.routes import KnownJob
from pagent.web.v1.views import job_view

#: Bytes of one write, about, and events that are looked at for it.
_PIECE: Final = 32 * 1024
_LOOKED_AT: Final = 1_000
#: Encoded pieces that are kept for other streams of the subject.
_PIECES_KEPT: Final = 16
#: Streams that are woken in one iteration of the event loop.
_WOKEN_AT_ONCE: Final = 50
#: The least time from one waking of all streams to the next, and the part of it for each stream: with 1,000 streams
#: that is 0.25 s, in which the events are collected.
_PAUSE_S: Final = 0.02
_PAUSE_PER_STREAM_S: Final = 0.000_25
#: How often streams without news are woken, to send a comment.
KEEPALIVE_S: Final = 15.0
#: Memory that an event takes beside its text, in bytes, about.
_OVERHEAD: Final = 512


class EventPiece(NamedTuple):
    """Encoded events; ``last`` is the number of the last one that was looked at."""

    data: bytes
    last: int


class _Event:
    """One event. ``job`` is kept until the event is encoded, ``facts`` for the gate."""

    __slots__ = ("facts", "job", "name", "payload", "size")

    def __init__(self, name: str, job: KnownJob | None, payload: bytes) -> None:
        self.name = name
        self.facts = None if job is None else JobFacts(job.uid, job.agent_uid, job.labels)
        self.job = None if payload or job is None else job.snapshot()
        self.payload = payload
        self.size = _OVERHEAD + (len(payload) if self.job is None else self.job.size)

    def encoded(self, event_id: str) -> bytes:
        """Return the event in the form of the HTML standard, "Server-sent events"."""
        if self.job is not None:
            self.payload = packed(job_view(self.job, away=False))
            self.job = None
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), self.name.encode(), self.payload)


class EventLog:
    """The latest events, of at most EVENTS_KEPT_BYTES."""

    def __init__(self) -> None:
        # For life.
        self.instance: Final = secrets.token_hex(16)
        # The events.
        self._kept: dict[int, _Event] = {}
        self._size = 0
        self._oldest = 1
        #: The number of the latest event.
        self.last = 0
        self._pieces: dict[tuple[int, Gate, Subject], EventPiece] = {}
        # The streams.
        self.streams = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._sampled: list[asyncio.Future[None]] = []  # of streams that wait for samples as well
        self._timer: asyncio.TimerHandle | None = None  # wakes all streams
        self._due_at = 0.0
        self._woken_at = 0.0

    # --- events -----------------------------------------------------------------------------------

    def add(self, name: str, job: KnownJob | None, payload: bytes = b"") -> None:
        """Keep an event of a job, or one with the JSON text ``payload``. Callers that may see ``job`` may see it."""
        event = _Event(name, job, payload)
        self.last += 1
        self._kept[self.last] = event
        self._size += event.size
        while len(self._kept) > EVENTS_KEPT or self._size > EVENTS_KEPT_BYTES:
            self._size -= self._kept.pop(self._oldest).size
            self._oldest += 1
        if self.streams:
            self._schedule()

    def id_of(self, number: int) -> str:
        """Return the id of an event."""
        return f"{self.instance}-{number}"

    def number_of(self, event_id: str) -> int | None:
        """Return the number in an id; None if it is not one of this log, or of an event that is yet to come."""
        instance, _, number = event_id.rpartition("-")
        is_number = number.isascii() and number.isdigit() and len(number) <= len(str(self.last))
        return int(number) if instance == self.instance and is_number and int(number) <= self.last else None

    def after(self, number: int, gate: Gate, subject: Subject) -> EventPiece | None:
        """Return the next events after a number that a gate lets a subject see; None if some are not kept any more."""
        if number + 1 < self._oldest:
            return None
        key = number, gate, subject
        if (piece := self._pieces.get(key)) is not None:
            return piece
        piece = self._encode(number, gate, subject)
        if piece.last > number:
            if len(self._pieces) >= _PIECES_KEPT:
                self._pieces.clear()
            self._pieces[key] = piece
        return piece

    def _encode(self, number: int, gate: Gate, subject: Subject) -> EventPiece:
        parts, size, last = list[bytes](), 0, number
        while last < self.last and size < _PIECE and last - number < _LOOKED_AT:
            last += 1
            event = self._kept[last]
            if event.facts is None or gate.sees(subject, event.facts):
                parts.append(event.encoded(self.id_of(last)))
                size += len(parts[-1])
        return EventPiece(b"".join(parts), last)

    def reset(self) -> bytes:
        """Return the event after which a client lists everything again."""
        return b"id: %b\nevent: reset\ndata: {}\n\n" % self.id_of(self.last).encode()

    # --- streams ----------------------------------------------------------------------------------

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while the block runs."""
        self.streams += 1
        if self._timer is None:
            self._set_timer(KEEPALIVE_S)
        try:
            yield
        finally:
            self.streams -= 1
            if not self.streams and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def news(self, *, sampled: bool = False) -> None:
        """Wait for events, or until it is time for a comment; ``sampled``: or for :meth:`wake_sampled`."""
        future = asyncio.get_running_loop().create_future()
        (self._sampled if sampled else self._waiting).append(future)
        await future

    def wake_sampled(self) -> None:
        """Wake the streams with samples."""
        due, self._sampled = self._sampled, []
        self._wake_some(due)

    def _schedule(self) -> None:
        """Wake the streams soon, and not much sooner than the pause after the last time."""
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._woken_at + max(_PAUSE_S, self.streams * _PAUSE_PER_STREAM_S))
        if at < self._due_at:
            self._set_timer(at - loop.time())

    def _set_timer(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._due_at = loop.time() + delay
        self._timer = loop.call_later(delay, self._wake)

    def _wake(self) -> None:
        due, self._waiting = self._waiting, []
        self._woken_at = asyncio.get_running_loop().time()
        self._set_timer(KEEPALIVE_S)
        self._wake_some(due)
        self.wake_sampled()

    def _wake_some(self, due: list[asyncio.Future[None]]) -> None:
        for future in due[:_WOKEN_AT_ONCE]:
            if not future.done():
                future.set_result(None)
        if rest := due[_WOKEN_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._wake_some, rest)
