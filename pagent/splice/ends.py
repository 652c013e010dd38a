"""What a splice needs of the call that it works for: the seam to :mod:`pagent.rpc`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol


class StreamEnd(Protocol):
    """The push face of a call's stream (``pagent.rpc.stream.Stream``)."""

    @property
    def blocked(self) -> bool:
        """Whether what is sent now is only queued."""

    def attach(self, receiver: Any, *, splits: bool = False) -> None:
        """Deliver what has come, and what comes, to ``receiver``; ``splits``: bins in pieces where memory is short."""

    def send(self, value: Any) -> None:
        """Send a message."""

    def send_packed(self, packed: bytes) -> None:
        """Send a message whose value is packed already."""

    def hold(self) -> None:
        """Deliver nothing for now."""

    def release(self) -> None:
        """Deliver again."""


class Call(Protocol):
    """A call that hands its stream to a splice (``pagent.rpc.calls.IncomingCall``)."""

    def finish(self, value: Any = None) -> None:
        """End the call with a result."""

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that has to wait; what it raises ends the call."""
