"""A relayed call: the stream of its caller joined to the stream of the call that the router makes to the agent.

Nothing is read or kept here. Credit is given by hop: what one stream receives, the other has taken when its receiver
returns. A stream that is blocked holds the other one. So a consumer that stops reading stops the producer after at most
one window on each link.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pagent.errors import CallCancelledError, CallError, LinkClosedError
from pagent.rpc.calls import IncomingCall, OutgoingCall
from pagent.rpc.stream import Stream


class _Half:
    """Receiver of one stream, which sends on the other."""

    def __init__(self, joint: JoinedCall, other: Stream) -> None:
        self._joint = joint
        self._other = other

    def stream_message(self, value: Any) -> None:
        self._other.send(value)

    def stream_blocked(self) -> None:
        """The own stream takes no more: stop what comes from the other."""
        self._other.hold()

    def stream_writable(self) -> None:
        self._other.release()

    def stream_closed(self) -> None:
        self._other.close()

    def stream_lost(self, reason: str) -> None:
        self._joint.lost(reason)


class _FromAgent(_Half):
    """The half that also ends the caller's call, once all that the agent has sent is on its way."""

    def stream_closed(self) -> None:
        self._joint.agent_closed()


class JoinedCall:
    """Joins ``incoming``, a call of a peer, to ``outgoing``, which was made for it. Both have a stream."""

    def __init__(self, incoming: IncomingCall, outgoing: OutgoingCall) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        caller, agent = incoming.stream, outgoing.stream
        assert caller is not None
        assert agent is not None
        self._caller = caller
        self._closed = False
        outgoing.result.add_done_callback(self._settled)
        agent.attach(_FromAgent(self, caller))
        if not incoming.ended:
            caller.attach(_Half(self, agent))

    def agent_closed(self) -> None:
        """The agent sends no more. Its result, if it is there, comes after what it has sent."""
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
        elif isinstance(error, (CallError, LinkClosedError)):
            self._incoming.relay_failure(error)
        else:
            self._incoming.fail(error)

    def lost(self, reason: str) -> None:
        """One of the two calls is gone: give the other one up."""
        if not self._outgoing.result.done():
            self._outgoing.cancel(CallCancelledError(reason))
