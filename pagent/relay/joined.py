"""A relayed call: the stream of its caller joined to the stream of the call that the router makes to the agent.

Nothing is read or kept here. Credit is given by hop: what one stream receives, the other has taken when its receiver
returns. A stream that is blocked holds the other one. So a consumer that stops reading stops the producer after at most
one window on each link.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pagent.buffers import BODY_CHUNK
from pagent.errors import CallCancelledError, CallError, LinkClosedError, ServerError
from pagent.rpc.calls import IncomingCall, OutgoingCall
from pagent.rpc.host import CallHost
from pagent.rpc.stream import Stream
from pagent.wire import messages

#: Bytes of a stream message beside its value.
_HEADER_MAX: Final = 32


def agent_lost(error: LinkClosedError) -> LinkClosedError:
    """Return the error for the caller of a call whose agent's link was lost."""
    reason = f": {error.reason}" if error.reason else ""
    return LinkClosedError(error.code, f"the router has lost its link to the agent{reason}")


def _size(value: Any) -> int:
    """Return the bytes of a stream message, about."""
    return len(value) if isinstance(value, (bytes, bytearray, memoryview)) else len(messages.pack(value))


class _Half:
    """Receiver of one stream, which sends on the other. ``to``: the connection of the other."""

    def __init__(self, joint: JoinedCall, other: Stream, to: CallHost) -> None:
        self._joint = joint
        self._other = other
        self._longest = None if to.flow else to.message_max - _HEADER_MAX

    def stream_message(self, value: Any) -> None:
        if self._longest is not None and _size(value) > self._longest:
            self._joint.fail(f"a stream message is longer than the {self._longest} bytes that the other side takes")
        else:
            self._other.send(value)

    def stream_blocked(self) -> None:
        """Pause the other stream: the own one has no credit left."""
        self._other.hold()

    def stream_writable(self) -> None:
        self._other.release()

    def stream_closed(self) -> None:
        self._other.close()

    def stream_lost(self, reason: str) -> None:
        self._joint.lost(reason)


class _Zeros:
    """The holes of an upload to an agent without the extension ``holes``, which gets zeros instead."""

    def __init__(self, to: Stream) -> None:
        self._to = to
        self._left = 0

    def add(self, size: int) -> None:
        self._left += size

    def write(self) -> bool:
        """Write zeros until the stream is blocked. Return whether all are written."""
        while self._left and not self._to.blocked:
            size = min(self._left, BODY_CHUNK)
            self._left -= size
            self._to.send(bytes(size))
        return not self._left


class _FromCaller(_Half):
    """The half that replaces holes by zeros, if the agent's side does not take them."""

    def __init__(self, joint: JoinedCall, caller: Stream, agent: Stream, to: CallHost, zeros: _Zeros | None) -> None:
        super().__init__(joint, agent, to)
        self._caller = caller
        self._zeros = zeros

    def stream_message(self, value: Any) -> None:
        if self._zeros is None or type(value) is not int or value < 0:
            super().stream_message(value)
            return
        self._zeros.add(value)
        if not self._zeros.write():
            self._caller.hold()


class _FromAgent(_Half):
    """The half that also ends the caller's call, once all that the agent has sent is on its way."""

    def __init__(self, joint: JoinedCall, caller: Stream, to: CallHost, zeros: _Zeros | None) -> None:
        super().__init__(joint, caller, to)
        self._zeros = zeros

    def stream_writable(self) -> None:
        if self._zeros is None or self._zeros.write():
            self._other.release()

    def stream_closed(self) -> None:
        self._joint.agent_closed()


class JoinedCall:
    """Joins ``incoming``, a call of a peer, to ``outgoing``, which was made for it. Both have a stream.

    ``fill_holes``: an int on the caller's stream is a number of zeros, and the agent gets the zeros.
    """

    def __init__(self, incoming: IncomingCall, outgoing: OutgoingCall, *, fill_holes: bool = False) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        caller, agent = incoming.stream, outgoing.stream
        assert caller is not None
        assert agent is not None
        self._caller = caller
        self._closed = False
        outgoing.result.add_done_callback(self._settled)
        zeros = _Zeros(agent) if fill_holes else None
        agent.attach(_FromAgent(self, caller, incoming.connection, zeros))
        if not incoming.ended:
            caller.attach(_FromCaller(self, caller, agent, outgoing.connection, zeros))

    def agent_closed(self) -> None:
        """End the client's stream: the agent sends no more. A result is sent after all data of the agent."""
        self._closed = True
        if self._outgoing.result.done():
            self._finish(self._outgoing.result)
        else:
            self._caller.close()

    def _settled(self, result: asyncio.Future[Any]) -> None:
        if self._closed or result.cancelled() or result.exception() is not None:
            self._finish(result)

    def _finish(self, result: asyncio.Future[Any]) -> None:
        if self._incoming.ended:
            return
        if result.cancelled():
            self._incoming.fail(CallCancelledError("the call was cancelled"))
        elif (error := result.exception()) is None:
            self._incoming.finish(result.result())
        elif isinstance(error, LinkClosedError):
            self._incoming.fail(agent_lost(error))
        elif isinstance(error, CallError):
            self._incoming.relay_failure(error)
        else:
            self._incoming.fail(error)

    def fail(self, text: str) -> None:
        """Give both calls up: a message cannot be passed on."""
        self._outgoing.cancel(ServerError(text))

    def lost(self, reason: str) -> None:
        """One of the two calls is gone: give the other one up."""
        self._outgoing.cancel(CallCancelledError(reason))  # of a call that has ended, the stream may keep messages
