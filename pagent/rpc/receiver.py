"""The two parties of a stream: the receiver of its messages, and the call that owns it."""

from __future__ import annotations

from typing import Any, Protocol


class Receiver(Protocol):
    """Works on one end of a stream, in push style."""

    def stream_message(self, value: Any) -> None:
        """Take a message of the peer: a bytes-like object for a bin, otherwise what msgpack gave; never None."""

    def stream_closed(self) -> None:
        """The peer sends no more (its stream close, or the result). Called once, after the last message."""

    def stream_blocked(self) -> None:
        """Stop sending: what is sent now is only queued."""

    def stream_writable(self) -> None:
        """Resume the source of the data: the queue is empty again."""

    def stream_lost(self, reason: str) -> None:
        """The call is gone: cancelled by the peer, failed, or its link lost. Nothing follows."""


class StreamOwner(Protocol):
    """What a stream needs from its call."""

    def stream_overrun(self, reason: str) -> None:
        """End the call with an error: the peer sent more than can be kept."""

    def stream_failed(self, error: Exception) -> None:
        """End the call, and nothing but the call, with an error: the receiver raised on what the peer sent."""

    def stream_flushed(self) -> None:
        """The stream close, or the call's result, has been sent."""
