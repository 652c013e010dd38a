"""The two parties of a stream: the receiver of its messages, and the call that owns it."""

from __future__ import annotations

from typing import Any, Protocol


class Receiver(Protocol):
    """Works on one end of a stream, in push style."""

    def stream_message(self, value: Any) -> None:
        """Take a message of the peer: a bytes-like object for a bin, otherwise its unpacked value; never None."""

    def stream_closed(self) -> None:
        """Note that the peer sends no more (its stream close, or the result). Called once, after the last message."""

    def stream_blocked(self) -> None:
        """Stop sending: a message sent now is only queued."""

    def stream_writable(self) -> None:
        """Resume the source of the data: the queue is empty again."""

    def stream_lost(self, reason: str) -> None:
        """Stop: the call was cancelled by the peer, has failed, or its link is lost. Nothing follows."""


class StreamOwner(Protocol):
    """The interface of a call for its stream."""

    def stream_overrun(self, reason: str) -> None:
        """End the call with an error: the peer has sent more than this end may keep."""

    def stream_failed(self, error: Exception) -> None:
        """End the call, and nothing but the call, with an error: the receiver raised on a message of the peer."""

    def stream_flushed(self) -> None:
        """Note that the stream close, or the call's result, has been sent."""
