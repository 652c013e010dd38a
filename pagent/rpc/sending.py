"""The sending half of a stream: our messages, in order, within the peer's credit and the link's room.

It never refuses a message. A message that the link or the peer's credit does not take is queued. The receiver stops its
source (``stream_blocked``) until the queue is empty (``stream_writable``). The last messages, the stream close and the
result of an incoming call, wait for the queue but need no credit.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, Final

from pagent.buffers import BYTES_TYPES, Bytes
from pagent.limits import MESSAGE_COST_MIN, STREAM_WINDOW
from pagent.net.link.link import Link
from pagent.rpc.receiver import Receiver, StreamOwner
from pagent.rpc.scheduler import SMALL_BYTES, Scheduler
from pagent.runtime.traffic import Traffic
from pagent.wire import messages

#: Credit towards a peer without flow control: it is never used up. Compiled, an int of more bits is a slower one.
_UNLIMITED: Final = 1 << 61


# Integers, because the hash of another Enum's members is a call of Python code, and each call needs several.
class SendingState(enum.IntEnum):
    OPEN = enum.auto()
    CLOSING = enum.auto()  # the stream close waits for the queue
    CLOSED = enum.auto()  # it is sent; only a result may follow
    ENDING = enum.auto()  # the result waits for the queue
    ENDED = enum.auto()  # nothing is sent any more


class SendingInput(enum.IntEnum):
    CLOSE = enum.auto()  # we send no more
    RESULT = enum.auto()  # the call ends
    FLUSHED = enum.auto()  # the queue is empty, and the last messages are sent
    STOP = enum.auto()  # the peer takes no more, or the call is gone


_OPEN: Final = SendingState.OPEN

#: Any other input is a fault of this package, and a KeyError.
SENDING_TRANSITIONS: Final[dict[SendingState, dict[SendingInput, SendingState]]] = {
    SendingState.OPEN: {
        SendingInput.CLOSE: SendingState.CLOSING,
        SendingInput.RESULT: SendingState.ENDING,
        SendingInput.STOP: SendingState.ENDED,
    },
    SendingState.CLOSING: {
        SendingInput.RESULT: SendingState.ENDING,
        SendingInput.FLUSHED: SendingState.CLOSED,
        SendingInput.STOP: SendingState.ENDED,
    },
    SendingState.CLOSED: {SendingInput.RESULT: SendingState.ENDING, SendingInput.STOP: SendingState.ENDED},
    SendingState.ENDING: {SendingInput.FLUSHED: SendingState.ENDED, SendingInput.STOP: SendingState.ENDED},
    SendingState.ENDED: {SendingInput.STOP: SendingState.ENDED},
}


class SendingHalf:
    """The messages that one end of a stream sends.

    :param caller: whether this end made the call; decides the message types.
    :param flow: whether the extension ``flow`` is in force.

    ``blocked`` is True while anything is queued. ``deficit`` belongs to the scheduler. ``traffic`` counts sent bytes,
    a short message as MESSAGE_COST_MIN.
    """

    __slots__ = (
        "_call_id",
        "_close_kind",
        "_credit",
        "_kind",
        "_last",
        "_link",
        "_owner",
        "_prefix",
        "_queue",
        "_queue_bytes",
        "_scheduler",
        "_state",
        "_waiting",
        "blocked",
        "deficit",
        "receiver",
        "traffic",
    )

    def __init__(
        self, link: Link, scheduler: Scheduler, owner: StreamOwner, call_id: int, *, caller: bool, flow: bool
    ) -> None:
        # For life.
        self._link = link
        self._scheduler = scheduler
        self._owner = owner
        self._call_id = call_id
        self._kind = messages.REQUEST_MESSAGE if caller else messages.RESPONSE_MESSAGE
        self._close_kind = messages.REQUEST_CLOSE if caller else messages.RESPONSE_CLOSE
        # While the call lives.
        self.receiver: Receiver | None = None
        self._state = _OPEN
        self._credit = STREAM_WINDOW if flow else _UNLIMITED
        self._prefix = b""  # of all messages, from the first one on: most requests send none
        self.traffic: Traffic | None = None
        # Messages that wait for the link or for credit.
        self._queue: deque[tuple[bytes, Bytes, int]] | None = None  # few streams ever need one, and it takes 600 bytes
        self._queue_bytes = 0
        self._last: tuple[bytes, ...] = ()  # after the queue: the stream close, the result
        self._waiting = False  # in the scheduler
        self.blocked = False
        self.deficit = 0

    @property
    def state(self) -> SendingState:
        return self._state

    @property
    def credit(self) -> int:
        """Payload bytes that the peer takes now; below 0 if the last message exceeded its credit."""
        return self._credit

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait for the link or for the peer's credit."""
        return self._queue_bytes

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the link; 0 while they wait for the peer's credit."""
        return self._queue_bytes if self._credit > 0 else 0

    def _apply(self, happening: SendingInput) -> None:
        """Set the state; nothing else does."""
        self._state = SENDING_TRANSITIONS[self._state][happening]

    # --- for the receiver and its call ------------------------------------------------------------

    def send(self, value: Any) -> None:
        """Send any value but None, or queue it; nothing once the stream is closed."""
        if self._state is not _OPEN:
            return
        if not self._prefix:
            self._prefix = messages.stream_prefix(self._kind, self._call_id)
        kind = type(value)
        if kind is list or kind is int:  # fields and a status: isinstance() takes long to find that they are no bytes
            self._put(self._prefix + messages.pack(value), b"", MESSAGE_COST_MIN)
        elif isinstance(value, BYTES_TYPES):
            length = len(value)
            cost = length if length > MESSAGE_COST_MIN else MESSAGE_COST_MIN
            self._put(self._prefix + messages.bin_header(length), value, cost)
        else:
            self._put(self._prefix + messages.pack(value), b"", messages.cost(value))

    def close(self) -> None:
        """Send the stream close after the queued messages; nothing once the stream is closed."""
        if self._state is _OPEN:
            self._apply(SendingInput.CLOSE)
            self._send_last(messages.empty(self._close_kind, self._call_id))

    def end(self, result: bytes) -> None:
        """Send the call's result after the queued messages."""
        self._apply(SendingInput.RESULT)
        self._send_last(result)

    def end_with(self, payload: bytes) -> None:
        """Send a last bin and the call's result: as one message if it need not wait."""
        if self._may_send(max(len(payload), MESSAGE_COST_MIN)):
            self.end(messages.result(self._call_id, payload))
        else:
            self.send(payload)
            self.end(messages.result(self._call_id, None))

    def stop(self) -> None:
        """Drop the queued messages, and send no more."""
        self._apply(SendingInput.STOP)
        self.blocked = False
        self._queue, self._last = None, ()
        self._count(-self._queue_bytes)

    def stop_after_result(self) -> None:
        """Stop because the peer's result is here: a source that was paused is then read to its end."""
        blocked = self.blocked
        self.stop()
        if blocked:
            self._notify(blocked=False)

    # --- for the connection and the scheduler -----------------------------------------------------

    def credit_arrived(self, amount: int) -> None:
        """Add credit: the peer takes ``amount`` bytes more."""
        self._credit += amount
        if self._queue:
            self._wait()

    def send_one(self) -> int:
        """Send the first queued message; return its bytes. For the scheduler."""
        assert self._queue is not None
        header, payload, cost = self._queue.popleft()
        self._spend(cost)
        size = len(header) + len(payload)
        self._count(-size)
        self._emit(header, payload)
        if self._queue:
            self._waiting = self._credit > 0
            return size
        if self._last:
            self._flush_last()
        elif self.blocked:
            self._notify(blocked=False)
        # Only now: messages sent by the receiver may wait again, and the scheduler, which is calling, sees that itself.
        self._waiting = self.queued_bytes > 0
        return size

    # --- inside -----------------------------------------------------------------------------------

    def _put(self, header: bytes, payload: Bytes, cost: int) -> None:
        if self._may_send(cost):
            self._emit(header, payload)
        else:
            self._enqueue(header, payload, cost)

    def _may_send(self, cost: int) -> bool:
        """Return whether a message may be sent now; it is counted then."""
        pacer = self._link.pacer
        if self._queue or self._link.blocked or self._credit <= 0 or (cost > SMALL_BYTES and pacer.held):
            return False
        self._spend(cost)
        if pacer.bulk_id != self._call_id:
            pacer.others_sent += 1
        return True

    def _spend(self, cost: int) -> None:
        self._credit -= cost
        if self.traffic is not None:
            self.traffic.sent += cost

    def _enqueue(self, header: bytes, payload: Bytes, cost: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append((header, payload, cost))
        self._count(len(header) + len(payload))
        self._wait()
        if not self.blocked:
            self._notify(blocked=True)

    def _emit(self, header: bytes, payload: Bytes) -> None:
        if payload:
            self._link.send_parts(self._call_id, header, payload)
        else:
            self._link.send(header)

    def _wait(self) -> None:
        if not self._waiting and self._queue and self._credit > 0:
            self._waiting = True
            self._scheduler.add(self)

    def _notify(self, *, blocked: bool) -> None:
        self.blocked = blocked
        if self.receiver is None:
            return
        try:
            self.receiver.stream_blocked() if blocked else self.receiver.stream_writable()
        except Exception as error:  # noqa: BLE001 - a fault in one splice must not cost the link
            self._owner.stream_failed(error)

    def _send_last(self, message: bytes) -> None:
        self._last += (message,)
        if not self._queue:
            self._flush_last()

    def _flush_last(self) -> None:
        last, self._last = self._last, ()
        for message in last:
            self._link.send(message)
        self._apply(SendingInput.FLUSHED)
        self._owner.stream_flushed()

    def _count(self, change: int) -> None:
        """Count bytes that the queue has gained, or lost if ``change`` is negative."""
        self._queue_bytes += change
        if change:
            self._link.memory.change(change)
