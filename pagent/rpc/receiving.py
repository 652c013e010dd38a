"""The receiving half of a stream: each message goes to the receiver in the callback that received it.

A receiver that cannot take more holds the stream. Messages that arrive meanwhile are kept: within the window of a peer
with credit, in memory and then in a spool for a peer without. Credit is returned when the receiver has used the bytes.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from typing import Any, Final

from pagent.buffers import BYTES_TYPES
from pagent.limits import BUFFER_FREE, BUFFER_PIECE, STREAM_BUFFER, STREAM_WINDOW_MAX
from pagent.net.link.link import Link
from pagent.rpc.receiver import Receiver, StreamOwner
from pagent.rpc.spool import Spool, SpoolOpener, temporary_spool
from pagent.rpc.throttle import STREAM_PAUSE_FROM, ReadThrottle
from pagent.runtime.traffic import Traffic
from pagent.wire import messages
from pagent.wire.window import ReceiveWindow

_log = logging.getLogger(__name__)


# Integers, because the hash of another Enum's members is a call of Python code, and each call needs several.
class ReceivingState(enum.IntEnum):
    OPEN = enum.auto()
    CLOSING = enum.auto()  # the peer sends no more; the receiver has not been notified yet
    CLOSED = enum.auto()  # it has
    STOPPED = enum.auto()  # the call is over: kept messages are dropped


class ReceivingInput(enum.IntEnum):
    CLOSE = enum.auto()  # the peer's stream close, or its result
    DELIVERED = enum.auto()  # the receiver gets the close, after the last message
    STOP = enum.auto()  # the call is over


_OPEN: Final = ReceivingState.OPEN

#: Any other input is a fault of this package, and a KeyError. A second close of the peer changes nothing.
RECEIVING_TRANSITIONS: Final[dict[ReceivingState, dict[ReceivingInput, ReceivingState]]] = {
    ReceivingState.OPEN: {
        ReceivingInput.CLOSE: ReceivingState.CLOSING,
        ReceivingInput.STOP: ReceivingState.STOPPED,
    },
    ReceivingState.CLOSING: {
        ReceivingInput.CLOSE: ReceivingState.CLOSING,
        ReceivingInput.DELIVERED: ReceivingState.CLOSED,
        ReceivingInput.STOP: ReceivingState.STOPPED,
    },
    ReceivingState.CLOSED: {
        ReceivingInput.CLOSE: ReceivingState.CLOSED,
        ReceivingInput.STOP: ReceivingState.STOPPED,
    },
    ReceivingState.STOPPED: {
        ReceivingInput.CLOSE: ReceivingState.STOPPED,
        ReceivingInput.STOP: ReceivingState.STOPPED,
    },
}


class ReceivingHalf:
    """The messages that one end of a stream receives.

    :param caller: whether this end made the call; decides the message type that gives credit to the peer.
    :param flow: whether the extension ``flow`` is in force.

    ``pause_after`` and ``pause_rest_s`` belong to the read throttle of the link. ``traffic`` counts bytes from peers
    with credit only.
    """

    __slots__ = (
        "_call_id",
        "_caller",
        "_flow",
        "_held",
        "_kept",
        "_kept_bytes",
        "_link",
        "_opener",
        "_owner",
        "_splits",
        "_spool",
        "_state",
        "_throttle",
        "_window",
        "pause_after",
        "pause_rest_s",
        "receiver",
        "traffic",
    )

    def __init__(
        self, link: Link, throttle: ReadThrottle, owner: StreamOwner, call_id: int, *, caller: bool, flow: bool
    ) -> None:
        # For life.
        self._link = link
        self._throttle = throttle
        self._owner = owner
        self._call_id = call_id
        # From the receiver.
        self.receiver: Receiver | None = None
        self.traffic: Traffic | None = None
        self._opener: SpoolOpener | None = None
        # The bools stand together: compiled, they are bytes, and thousands of streams have one half of this kind.
        self._caller = caller
        self._flow = flow
        self._splits = False
        # While the call lives.
        self._held = True  # until there is a receiver
        self._state = _OPEN
        self._window: ReceiveWindow | None = None  # with the first message: most requests of users have none
        # Messages kept for the receiver.
        self._kept: deque[Any] | None = None
        self._kept_bytes = 0
        self._spool: Spool | None = None
        self.pause_after = self.pause_rest_s = 0.0

    @property
    def state(self) -> ReceivingState:
        return self._state

    @property
    def window(self) -> ReceiveWindow | None:
        """The credit of the peer; None without flow control, and before its first message."""
        return self._window

    @property
    def spool(self) -> Spool | None:
        """The messages kept on disk; None while memory is enough."""
        return self._spool

    @property
    def kept_bytes(self) -> int:
        """Bytes of messages in memory that the receiver has not taken."""
        return self._kept_bytes

    @property
    def kept_messages(self) -> int:
        """Messages in memory that the receiver has not taken."""
        return len(self._kept) if self._kept is not None else 0

    def _apply(self, happening: ReceivingInput) -> None:
        """Set the state; nothing else does."""
        self._state = RECEIVING_TRANSITIONS[self._state][happening]

    # --- for the receiver and its call ------------------------------------------------------------

    def attach(self, receiver: Receiver, splits: bool) -> None:
        """Deliver the messages that have arrived, and later ones, to this receiver."""
        self.receiver = receiver
        self._splits = splits
        self.release()

    def spool_with(self, opener: SpoolOpener) -> None:
        """Keep messages that the receiver does not take in these files, once they exceed their share of memory."""
        self._opener = opener

    def hold(self) -> None:
        """Deliver nothing for now."""
        self._held = True

    def release(self) -> None:
        """Deliver the messages that were kept, and later ones, until the next :meth:`hold`."""
        self._held = False
        while self._kept and not self._held:
            value = self._kept.popleft()
            self._count(-messages.weight(value))
            self._deliver(value)
        if self._spool is None and not self._kept:
            self._throttle.caught_up(self)
        if self._held:
            return
        if self._spool is not None:
            self._spool.want()
        elif self._state is ReceivingState.CLOSING:
            self._deliver_close()

    def stop(self) -> None:
        """Drop the kept messages, and take no more."""
        self._apply(ReceivingInput.STOP)
        self._kept = None
        self._count(-self._kept_bytes)
        self._throttle.caught_up(self)
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    # --- for the connection -----------------------------------------------------------------------

    def message_arrived(self, value: Any) -> None:
        """Take a message of the peer; it is dropped if the peer has closed the stream."""
        if self._state is not _OPEN:
            return
        if self._flow and self._window is None:
            self._window = ReceiveWindow()
        is_direct = self._window is None and not self._held and self._spool is None
        if is_direct and self.receiver is not None and not self._link.memory.is_full:
            try:
                self.receiver.stream_message(value)
            except Exception as error:  # noqa: BLE001 - a fault in one splice must not cost the link
                self._owner.stream_failed(error)
            return
        if self._window is not None and not self._arrived_in(self._window, messages.cost(value)):
            self._owner.stream_overrun("stream data beyond the credit given")
        elif self._splits and self._link.memory.is_full and isinstance(value, BYTES_TYPES):
            self._take_in_pieces(memoryview(value))
        else:
            self._take(value)

    def piggyback_credit(self) -> None:
        """Return credit that is nearly due: the stream sends data now, so the credit costs no further system call."""
        if self._window is not None and (credit := self._window.piggybacked()):
            self._return(self._window, credit)

    def close_arrived(self) -> None:
        """Take the peer's stream close, or its result."""
        self._apply(ReceivingInput.CLOSE)
        if self._state is ReceivingState.CLOSING and not self._held and not self._kept and self._spool is None:
            self._deliver_close()

    # --- inside -----------------------------------------------------------------------------------

    def _arrived_in(self, window: ReceiveWindow, cost: int) -> bool:
        """Count a message; return False if the peer had no credit left."""
        if self.traffic is not None:
            self.traffic.received += cost
        return window.arrived(cost)

    def _take_in_pieces(self, value: memoryview) -> None:
        """Let the receiver stop between copies of pieces, so that it keeps only one of them."""
        for at in range(0, len(value) or 1, BUFFER_PIECE):
            if self._state is _OPEN:  # a piece may have ended the call
                self._take(bytes(value[at : at + BUFFER_PIECE]))

    def _take(self, value: Any) -> None:
        if self._spool is not None:
            self._spool.append(value)
        elif self._held or self._kept:
            self._keep(value)
        else:
            self._deliver(value)
            return
        if self._window is None and (self._spool is not None or self._kept_bytes > STREAM_PAUSE_FROM):
            self._pause_link(messages.weight(value))

    def _pause_link(self, size: int) -> None:
        if self._opener is not None and self._opener.for_disk:
            self._throttle.pause_for_disk(self, size)
        else:
            self._throttle.pause_for_job(self)

    def _deliver(self, value: Any) -> None:
        cost = messages.cost(value)
        if self.receiver is not None:
            try:
                self.receiver.stream_message(value)
            except Exception as error:  # noqa: BLE001 - as in message_arrived
                self._owner.stream_failed(error)
                return
        if self._window is not None and (credit := self._window.used(cost)):
            self._return(self._window, credit)

    def _return(self, window: ReceiveWindow, credit: int) -> None:
        if self._state is _OPEN:
            credit += window.grown(credit, *self._link.clock())
            kind = messages.CALLER_CREDIT if self._caller else messages.CALLEE_CREDIT
            self._link.send(messages.credit(kind, self._call_id, credit))

    def _deliver_close(self) -> None:
        if self.receiver is None:
            return
        self._apply(ReceivingInput.DELIVERED)
        try:
            self.receiver.stream_closed()
        except Exception as error:  # noqa: BLE001 - as in message_arrived
            self._owner.stream_failed(error)

    def _keep(self, value: Any) -> None:
        weight = messages.weight(value)
        most = BUFFER_FREE if self._link.memory.is_full else STREAM_BUFFER + (STREAM_WINDOW_MAX if self._window else 0)
        if self._kept_bytes + weight > most:
            opener = temporary_spool() if self._opener is None else self._opener
            self._spool = Spool(opener, self._unspooled, self._owner.stream_overrun, self._throttle)
            self._spool.append(value)
            return
        if self._kept is None:
            self._kept = deque()
        self._kept.append(value)
        self._count(weight)

    def _unspooled(self, values: list[Any], empty: bool) -> None:
        """Take values from the spool; ``empty``: it is used up, and later messages come directly."""
        if empty:
            self._spool = None
        if self._kept is None:
            self._kept = deque()
        self._kept.extend(values)
        self._count(sum(map(messages.weight, values)))
        if not self._held:
            self.release()

    def _count(self, change: int) -> None:
        """Count bytes that memory has gained, or lost if ``change`` is negative."""
        self._kept_bytes += change
        if change:
            self._link.memory.change(change)
