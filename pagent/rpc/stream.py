"""The stream of a call: two halves, each with its own state (docs/protocol.rst, "Calls and streams").

The push face is what splices use. A :class:`Receiver` gets each message in the callback that received it; it says
:meth:`Stream.hold` when it cannot take more and :meth:`Stream.release` when it can. What arrives meanwhile is kept,
bounded by the credit of a peer that knows flow control, or by memory and then disk for one that does not. The sending
half never refuses: it queues what the link or the peer's credit does not take now, and tells its receiver to stop the
source (``stream_blocked``). The async face on top of this is :mod:`pagent.rpc.aio`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.limits import BUFFER_FREE, BUFFER_PIECE, MESSAGE_COST_MIN, STREAM_BUFFER, STREAM_WINDOW, STREAM_WINDOW_MAX
from pagent.net.link import Link
from pagent.rpc.receiver import Receiver, StreamOwner
from pagent.rpc.scheduler import SMALL_BYTES, Scheduler
from pagent.rpc.spool import DEFAULT_SPOOL, Spool, SpoolOpener
from pagent.rpc.throttle import STREAM_PAUSE_FROM, ReadThrottle
from pagent.runtime.memory import current_memory
from pagent.wire import messages
from pagent.wire.window import ReceiveWindow

_log = logging.getLogger(__name__)

#: Credit towards a peer without flow control: it is never used up. Compiled, an int of more bits is a slower one.
_UNLIMITED: Final = 1 << 61


class Stream:
    """One end of a stream.

    :param caller: whether this end made the call; decides the message types.
    :param flow: whether the extension ``flow`` is in force.
    """

    __slots__ = (
        "_close_delivered",
        "_close_kind",
        "_closed_by_peer",
        "_credit",
        "_credit_kind",
        "_held",
        "_inbox",
        "_inbox_bytes",
        "_last",
        "_link",
        "_memory",
        "_owner",
        "_prefix",
        "_queue",
        "_queue_bytes",
        "_receiver",
        "_scheduler",
        "_send_open",
        "_splits",
        "_spool",
        "_spool_opener",
        "_throttle",
        "_waiting",
        "_window",
        "blocked",
        "call_id",
        "deficit",
        "pause_after",
        "pause_rest_s",
    )

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
        # For life.
        self.call_id = call_id
        self._link = link
        self._scheduler = scheduler
        self._throttle = throttle
        self._owner = owner
        kind = messages.REQUEST_MESSAGE if caller else messages.RESPONSE_MESSAGE
        self._prefix = messages.stream_prefix(kind, call_id)
        self._close_kind = messages.REQUEST_CLOSE if caller else messages.RESPONSE_CLOSE
        self._credit_kind = messages.CALLER_CREDIT if caller else messages.CALLEE_CREDIT
        self._receiver: Receiver | None = None
        # The sending half.
        self._send_open = True
        self._credit = STREAM_WINDOW if flow else _UNLIMITED
        self._queue: deque[tuple[bytes, Bytes, int]] | None = None  # few streams ever need one, and it takes 600 bytes
        self._queue_bytes = 0
        self._last: tuple[bytes, ...] = ()  # behind the queue: the stream close, the result
        self._waiting = self.blocked = False
        self.deficit = 0
        # The receiving half.
        self._window = ReceiveWindow() if flow else None
        self._held = True  # until there is a receiver
        self._splits = False
        self._inbox: deque[Any] | None = None
        self._inbox_bytes = 0
        self._memory = current_memory()
        self._closed_by_peer = False
        self._close_delivered = False
        self._spool_opener = DEFAULT_SPOOL
        self._spool: Spool | None = None
        self.pause_after = self.pause_rest_s = 0.0

    # --- for the receiver: both halves ------------------------------------------------------------

    def attach(self, receiver: Receiver, *, splits: bool = False) -> None:
        """Hand the stream to its receiver; what has arrived so far is delivered now, before this returns.

        ``splits``: a bin is no unit to the receiver, so it may come in pieces where memory is short.
        """
        self._receiver = receiver
        self._splits = splits
        self.release()

    def hold(self) -> None:
        """Deliver nothing for now."""
        self._held = True

    def release(self) -> None:
        """Deliver what has been kept, and what comes, until the next :meth:`hold`."""
        self._held = False
        while self._inbox and not self._held:
            value = self._inbox.popleft()
            self._kept(-messages.weight(value))
            self._deliver(value)
        if self._spool is None and not self._inbox:
            self._throttle.caught_up(self)
        if self._held:
            return
        if self._spool is not None:
            self._spool.want()
        elif self._closed_by_peer:
            self._deliver_close()

    def spool_with(self, opener: SpoolOpener) -> None:
        """Where to keep what the receiver does not take, beyond what memory may hold."""
        self._spool_opener = opener

    # --- the sending half -------------------------------------------------------------------------

    def send(self, value: Any) -> None:
        """Send any value but None. What the peer cannot take now is queued: see ``blocked``."""
        if not self._send_open:
            return
        if isinstance(value, (bytes, bytearray, memoryview)):
            length = len(value)
            cost = length if length > MESSAGE_COST_MIN else MESSAGE_COST_MIN
            self._put(self._prefix + messages.bin_header(length), value, cost)
        else:
            self._put(self._prefix + messages.pack(value), b"", messages.cost(value))

    def _put(self, header: bytes, payload: Bytes, cost: int) -> None:
        pace = self._link.pace
        if self._queue or self._link.blocked or self._credit <= 0 or (cost > SMALL_BYTES and pace.held):
            self._enqueue(header, payload, cost)
            return
        self._credit -= cost
        if pace.bulk_id != self.call_id:
            pace.others += 1
        self._emit(header, payload)

    def send_packed(self, packed: bytes) -> None:
        """Send a value that is neither a str nor a bin, and packed already."""
        if self._send_open:
            self._put(self._prefix + packed, b"", MESSAGE_COST_MIN)

    def close(self) -> None:
        """Send no more, and say so: the stream close."""
        if self._send_open:
            self._send_last(messages.bare(self._close_kind, self.call_id))

    def end(self, message: bytes) -> None:
        """The call's result, behind everything queued: both halves are over, and the receiver hears no more."""
        self._stop_receiving()
        self._receiver = None
        self._send_last(message)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the link; 0 while they wait for the peer's credit."""
        return self._queue_bytes if self._credit > 0 else 0

    def send_one(self) -> int:
        """For the scheduler: send the first queued message."""
        assert self._queue is not None
        header, payload, cost = self._queue.popleft()
        self._credit -= cost
        size = len(header) + len(payload)
        self._queued(-size)
        self._emit(header, payload)
        if self._queue:
            self._waiting = self._credit > 0
            return size
        if self._last:
            self._flush_last()
        elif self.blocked:
            self._set_blocked(False)
        # Not before: what is sent meanwhile may wait again, and the scheduler, which is calling, sees that itself.
        self._waiting = self.queued_bytes > 0
        return size

    def _enqueue(self, header: bytes, payload: Bytes, cost: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append((header, payload, cost))
        self._queued(len(header) + len(payload))
        self._wait()
        if not self.blocked:
            self._set_blocked(True)

    def _emit(self, header: bytes, payload: Bytes) -> None:
        if payload:
            self._link.send_parts(self.call_id, header, payload)
        else:
            self._link.send(header)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        if self._receiver is not None:
            try:
                self._receiver.stream_blocked() if blocked else self._receiver.stream_writable()
            except Exception as error:  # noqa: BLE001 - as in message_arrived
                self._owner.stream_failed(error)

    def _send_last(self, message: bytes) -> None:
        """Send one more message, of any type, behind everything queued; the sending half is over."""
        self._send_open = False
        self._last += (message,)
        if not self._queue:
            self._flush_last()

    def _flush_last(self) -> None:
        last, self._last = self._last, ()
        for message in last:
            self._link.send(message)
        self._owner.stream_flushed()

    def _wait(self) -> None:
        if not self._waiting and self._queue and self._credit > 0:
            self._waiting = True
            self._scheduler.add(self)

    # --- for the connection: what the peer sent ---------------------------------------------------

    def credit_arrived(self, amount: int) -> None:
        self._credit += amount
        if self._queue:
            self._wait()

    def message_arrived(self, value: Any) -> None:
        if self._closed_by_peer:
            return  # dropped (docs/protocol.rst, "Messages that make no sense")
        full = self._memory.is_full
        if self._window is None and not (self._held or full) and self._spool is None and self._receiver is not None:
            try:
                self._receiver.stream_message(value)
            except Exception as error:  # noqa: BLE001 - a fault in one splice must not cost the link
                self._owner.stream_failed(error)
            return
        if self._window is not None and not self._window.arrived(messages.cost(value)):
            self._owner.stream_overrun("stream data beyond the credit given")
        elif full and self._splits and isinstance(value, (bytes, bytearray, memoryview)):
            self._arrive_in_pieces(memoryview(value))
        else:
            self._arrive(value)

    def _arrive_in_pieces(self, value: memoryview) -> None:
        """Let the receiver stop between copies of pieces, so that it keeps only one of them."""
        for at in range(0, len(value) or 1, BUFFER_PIECE):
            if not self._closed_by_peer:  # a piece may have ended the call
                self._arrive(bytes(value[at : at + BUFFER_PIECE]))

    def _arrive(self, value: Any) -> None:
        if self._spool is not None:
            self._spool.append(value)
        elif self._held or self._inbox:
            self._keep(value)
        else:
            self._deliver(value)
            return
        if self._window is None and (self._spool is not None or self._inbox_bytes > STREAM_PAUSE_FROM):
            self._throttle.pause(self, self._spool_opener.pause_s)

    def close_arrived(self) -> None:
        """The peer's stream close."""
        if self._closed_by_peer:
            return
        self._closed_by_peer = True
        if not self._held and not self._inbox and self._spool is None:
            self._deliver_close()

    def peer_ended(self) -> None:
        """The peer's result: it sends no more, and takes no more."""
        blocked = self.blocked
        self._stop_sending()
        if blocked:
            self._set_blocked(False)  # what is sent now goes nowhere, but its source has to be read to its end
        self.close_arrived()

    def _stop_sending(self) -> None:
        self._send_open = self.blocked = False
        self._queue, self._last = None, ()
        self._queued(-self._queue_bytes)

    def _queued(self, change: int) -> None:
        """Count what the queue has gained or lost."""
        self._queue_bytes += change
        self._memory.change(change)

    def lost(self, reason: str) -> None:
        """The call is gone."""
        self._stop_sending()
        self._stop_receiving()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.stream_lost(reason)
            except Exception as error:  # noqa: BLE001 - the other calls of a lost link have to hear of it, too
                _log.error("a receiver failed to hear that its call is gone", exc_info=error)

    # --- the receiving half -----------------------------------------------------------------------

    def _deliver(self, value: Any) -> None:
        cost = messages.cost(value)
        if self._receiver is not None:
            try:
                self._receiver.stream_message(value)
            except Exception as error:  # noqa: BLE001 - as above
                self._owner.stream_failed(error)
                return
        if self._window is not None and (credit := self._window.used(cost)) and not self._closed_by_peer:
            credit += self._window.grown(credit, *self._link.clock())
            self._link.send(messages.credit(self._credit_kind, self.call_id, credit))

    def _stop_receiving(self) -> None:
        self._closed_by_peer = self._close_delivered = True
        self._inbox = None
        self._kept(-self._inbox_bytes)
        self._throttle.caught_up(self)
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _deliver_close(self) -> None:
        if self._receiver is not None and not self._close_delivered:
            self._close_delivered = True
            try:
                self._receiver.stream_closed()
            except Exception as error:  # noqa: BLE001 - as above
                self._owner.stream_failed(error)

    def _keep(self, value: Any) -> None:
        weight = messages.weight(value)
        most = BUFFER_FREE if self._memory.is_full else STREAM_BUFFER + (STREAM_WINDOW_MAX if self._window else 0)
        if self._inbox_bytes + weight > most:
            self._spool = Spool(self._spool_opener, self._unspooled, self._owner.stream_overrun, self._throttle)
            self._spool.append(value)
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(value)
        self._kept(weight)

    def _kept(self, change: int) -> None:
        """Count what the inbox has gained or lost."""
        self._inbox_bytes += change
        self._memory.change(change)

    def _unspooled(self, values: list[Any], empty: bool) -> None:
        """The spool gives back what it kept; ``empty`` says that it is done, and later messages come directly."""
        if empty:
            self._spool = None
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.extend(values)
        self._kept(sum(map(messages.weight, values)))
        if not self._held:
            self.release()
