"""The stream of a call: two halves, each with its own state (docs/protocol.rst, "Calls and streams").

The push face is what splices use. A :class:`~pagent.rpc.receiver.Receiver` gets each message in the callback that
received it. It calls :meth:`Stream.hold` when it cannot take more, and :meth:`Stream.release` when it can. The async
face on top of this is :mod:`pagent.rpc.aio`.
"""

from __future__ import annotations

import logging
from typing import Any

from pagent.net.link.link import Link
from pagent.rpc.receiver import Receiver, StreamOwner
from pagent.rpc.receiving import ReceivingHalf
from pagent.rpc.scheduler import Scheduler
from pagent.rpc.sending import SendingHalf
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.throttle import ReadThrottle
from pagent.runtime.traffic import Traffic

_log = logging.getLogger(__name__)


class Stream:
    """One end of a stream.

    :param caller: whether this end made the call; decides the message types.
    :param flow: whether the extension ``flow`` is in force.
    """

    __slots__ = ("receiving", "sending")

    def __init__(
        self,
        link: Link,
        scheduler: Scheduler,
        throttle: ReadThrottle,
        owner: StreamOwner,
        call_id: int,
        *,
        caller: bool,
        flow: bool,
    ) -> None:
        self.sending = SendingHalf(link, scheduler, owner, call_id, caller=caller, flow=flow)
        self.receiving = ReceivingHalf(link, throttle, owner, call_id, caller=caller, flow=flow)

    # --- for the receiver -------------------------------------------------------------------------

    def attach(self, receiver: Receiver, *, splits: bool = False) -> None:
        """Hand the stream to its receiver. Messages that have arrived are delivered before this returns.

        ``splits``: a bin is no unit to the receiver, so it may come in pieces where memory is short.
        """
        self.sending.receiver = receiver
        self.receiving.attach(receiver, splits)

    def hold(self) -> None:
        """Deliver nothing for now."""
        self.receiving.hold()

    def release(self) -> None:
        """Deliver the messages that were kept, and later ones, until the next :meth:`hold`."""
        self.receiving.release()

    def spool_with(self, opener: SpoolOpener) -> None:
        """Keep messages that the receiver does not take in these files, once they exceed their share of memory."""
        self.receiving.spool_with(opener)

    def count_in(self, traffic: Traffic) -> None:
        """Count payload bytes from now on. Received bytes are counted with flow control only."""
        self.sending.traffic = self.receiving.traffic = traffic

    @property
    def blocked(self) -> bool:
        """Whether the receiver should send nothing: a message sent now is only queued."""
        return self.sending.blocked

    def send(self, value: Any) -> None:
        """Send any value but None. It is queued if the peer cannot take it now: see :attr:`blocked`."""
        self.receiving.piggyback_credit()
        self.sending.send(value)

    def close(self) -> None:
        """Send no more, and notify the peer: the stream close."""
        self.sending.close()

    # --- for the call -----------------------------------------------------------------------------

    def end(self, result: bytes) -> None:
        """Send the call's result after the queued messages. Both halves are over; the receiver gets nothing more."""
        self.receiving.stop()
        self.receiving.receiver = self.sending.receiver = None
        self.sending.end(result)

    def end_with(self, payload: bytes) -> None:
        """Send a last bin and the result of nil as :meth:`end` does, as one message if they need not wait."""
        self.receiving.stop()
        self.receiving.receiver = self.sending.receiver = None
        self.sending.end_with(payload)

    def peer_ended(self) -> None:
        """Take the end of the call by the peer's result: it sends no more, and takes no more."""
        self.sending.stop_after_result()
        self.receiving.close_arrived()

    def lost(self, reason: str) -> None:
        """Drop all messages, and notify the receiver that the call is gone."""
        self.sending.stop()
        self.receiving.stop()
        receiver = self.receiving.receiver
        self.receiving.receiver = self.sending.receiver = None
        if receiver is None:
            return
        try:
            receiver.stream_lost(reason)
        except Exception as error:  # noqa: BLE001 - the other calls of a lost link have to be notified as well
            _log.error("a receiver failed when its call was lost", exc_info=error)
