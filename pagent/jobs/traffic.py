"""The bytes that a job has exchanged with its clients (docs/contract.rst, "Host").

The flow control of a stream counts its bytes anyway. So nothing is counted here for each piece: an open stream is
asked, and its counts are added when it ends.
"""

from __future__ import annotations

from typing import Final, Protocol


class CountedStream(Protocol):
    """A stream of a call, at the agent."""

    @property
    def received_bytes(self) -> int:
        """Bytes that the peer has sent."""

    @property
    def sent_bytes(self) -> int:
        """Bytes that were sent to the peer."""


class JobTraffic:
    """The streams of one job: those that are open, and the sums of those that have ended."""

    __slots__ = ("_open", "_received", "_sent")

    def __init__(self) -> None:
        self._open: Final[set[CountedStream]] = set()
        self._received = 0
        self._sent = 0

    def opened(self, stream: CountedStream) -> None:
        """Note a stream."""
        self._open.add(stream)

    def ended(self, stream: CountedStream) -> None:
        """Note the end of a stream."""
        self._open.discard(stream)
        self._received += stream.received_bytes
        self._sent += stream.sent_bytes

    def totals(self) -> tuple[int, int]:
        """Return the bytes that the job has received from its clients, and those that it has sent to them."""
        received, sent = self._received, self._sent
        for stream in self._open:
            received += stream.received_bytes
            sent += stream.sent_bytes
        return received, sent
