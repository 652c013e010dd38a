"""The interfaces of a splice to :mod:`pagent.rpc`: a stream, and the call that it belongs to."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol


class StreamEnd(Protocol):
    """The push interface of a call's stream (``pagent.rpc.stream.Stream``)."""

    @property
    def blocked(self) -> bool:
        """Whether messages that are sent now are only queued."""

    def attach(self, receiver: Any, *, splits: bool = False) -> None:
        """Deliver messages to ``receiver``, those first that have arrived; ``splits``: bins may come in pieces."""

    def send(self, value: Any) -> None:
        """Send a message."""

    def hold(self) -> None:
        """Deliver no message until :meth:`release`."""

    def release(self) -> None:
        """Deliver the messages that arrived meanwhile, and later ones."""


class Call(Protocol):
    """A call that hands its stream to a splice (``pagent.rpc.calls.IncomingCall``)."""

    def finish(self, value: Any = None) -> None:
        """End the call with a result."""

    def finish_with(self, payload: bytes) -> None:
        """End the call with a last bin, which is its result or a message before it."""

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that has to wait in a task; an exception of it ends the call."""
