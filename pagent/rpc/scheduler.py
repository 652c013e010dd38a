"""Choose the stream that sends next while a link is congested.

A stream that may send and finds the link full waits here. When the link has room again, streams with little queued (a
GET's answer, a WebSocket message, a result) go first in the order in which they came; the others take turns, each with
a quantum of bytes (deficit round robin, Shreedhar and Varghese 1995), so that they share the link by bytes and not by
messages. Many streams that each have little again and again do not keep the others out: a fifth of the link is theirs.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

#: Streams with no more than this queued count as interactive.
SMALL_BYTES: Final = 16 * 1024
#: Bytes that a bulk stream may send in its turn.
QUANTUM_BYTES: Final = 64 * 1024
#: Bytes that go ahead of the others' turns while these wait.
AHEAD_BYTES: Final = 4 * QUANTUM_BYTES


class QueuedSender(Protocol):
    """A stream that waits for the link. ``deficit`` is the scheduler's."""

    deficit: int

    @property
    def queued_bytes(self) -> int:
        """Bytes that it has to send; 0 once it has none left, or may send none (no credit)."""

    def send_one(self) -> int:
        """Send the first queued message; returns its bytes."""


class Scheduler:
    """The streams of one link that wait for it."""

    def __init__(self) -> None:
        self._small: deque[QueuedSender] = deque()
        self._bulk: deque[QueuedSender] = deque()
        self._ahead = 0  # bytes that interactive streams have sent before waiting bulk ones, less those paid back

    def __len__(self) -> int:
        return len(self._small) + len(self._bulk)

    @property
    def waiting(self) -> list[QueuedSender]:
        """The streams that wait, interactive ones first."""
        return [*self._small, *self._bulk]

    def add(self, stream: QueuedSender) -> None:
        """Let a stream wait. Each waits once, whatever it queues meanwhile."""
        stream.deficit = 0
        (self._small if stream.queued_bytes <= SMALL_BYTES else self._bulk).append(stream)

    def send_next(self, *, bulk: bool = True) -> bool:
        """Let the next stream send one message; return False if none waits. ``bulk``: whether bulk streams may send."""
        if self._small and not (self._bulk and bulk and self._ahead >= AHEAD_BYTES):
            self._serve_small(self._small.popleft())
        elif self._bulk and bulk:
            self._serve_bulk(self._bulk.popleft())
        else:
            return False
        return True

    def _serve_small(self, stream: QueuedSender) -> None:
        if stream.queued_bytes > SMALL_BYTES:  # has grown meanwhile
            self._bulk.append(stream)
        elif stream.queued_bytes:
            sent = stream.send_one()
            self._ahead = self._ahead + sent if self._bulk else 0
            if stream.queued_bytes:
                self._small.appendleft(stream)

    def _serve_bulk(self, stream: QueuedSender) -> None:
        if not stream.queued_bytes:
            return
        if stream.deficit <= 0:
            stream.deficit += QUANTUM_BYTES
        if stream.deficit > 0:
            sent = stream.send_one()
            stream.deficit -= sent
            self._ahead = max(0, self._ahead - 4 * sent)
        if not stream.queued_bytes:
            return
        if stream.deficit > 0:
            self._bulk.appendleft(stream)
        else:
            self._bulk.append(stream)
