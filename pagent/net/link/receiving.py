"""The receiving side of a link: bytes in, messages out.

The bytes go through the frame decoder to the owner of the link before the callback of the transport returns. A read may
hold hundreds of messages. Those beyond the time slice of this loop iteration wait for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from pagent.buffers import Bytes
from pagent.errors import ProtocolError
from pagent.limits import FRAMES_AT_ONCE, HANDSHAKE_FRAMES, HANDSHAKE_MAX, LINK_FREE, MESSAGE_MAX
from pagent.net.link.buffer_pool import RECEIVE_BUFFER, current_pool
from pagent.net.link.owner import LinkOwner
from pagent.net.link.read_gate import ReadGate
from pagent.net.read_budget import current_budget
from pagent.runtime.iteration import current_iteration
from pagent.runtime.memory import current_memory
from pagent.runtime.metrics import STATISTICS
from pagent.runtime.timeslice import current_slice
from pagent.wire import frames
from pagent.wire.closing import INTERNAL_ERROR, MESSAGE_TOO_BIG, POLICY_VIOLATION

# Owners of pauses of the reading.
_BUDGET: Final = "read budget"
_UNHANDLED: Final = "unhandled messages"
_BINARY: Final = frames.BINARY


class LinkReceiver:
    """Decodes the bytes that a link receives.

    ``accepted``: the bounds of an accepted peer hold. ``delivers``: binary messages go to the owner. ``discards``: the
    input is discarded. ``received_bytes`` counts all reads.

    :param control: is called with each frame that is not binary; it may raise ProtocolError.
    :param fail: is called with the fault that ends the link.
    """

    __slots__ = (
        "_budget",
        "_control",
        "_decoder",
        "_direct",
        "_fail",
        "_iteration",
        "_loop",
        "_masked",
        "_memory",
        "_owner",
        "_pool",
        "_reading",
        "_slice",
        "_space",
        "_unauthenticated_frames",
        "_unfinished",
        "_unhandled",
        "accepted",
        "delivers",
        "discards",
        "received_bytes",
    )

    def __init__(
        self,
        owner: LinkOwner,
        reading: ReadGate,
        control: Callable[[int, Any], None],
        fail: Callable[[ProtocolError], None],
        *,
        masked: bool,
    ) -> None:
        # For life.
        self._owner = owner
        self._reading = reading
        self._control = control
        self._fail = fail
        self._masked = masked
        self._loop = asyncio.get_running_loop()
        self._slice = current_slice()
        self._iteration = current_iteration()
        self._budget = current_budget()
        self._pool = current_pool()
        self._memory = current_memory()
        # Until the peer is accepted.
        self.accepted = False
        self._unauthenticated_frames = 0
        # While connected.
        self.delivers = False  # binary messages go to the owner
        self.discards = False  # the input is discarded
        self.received_bytes = 0
        self._decoder = frames.FrameDecoder(masked=masked, max_message=HANDSHAKE_MAX)
        self._decoder.at_once = 1  # the frame after the handshake comes from an accepted peer
        self._space = memoryview(bytearray(HANDSHAKE_MAX))  # a separate buffer until the peer is accepted
        self._direct = False  # the current read goes to the place of a large frame
        self._unhandled: list[tuple[int, Any]] = []  # decoded messages that wait for the next loop iteration
        self._unfinished = 0  # counted bytes of a message

    def accept(self) -> None:
        """Accept the peer: its messages may be long, and are received into shared buffers."""
        self._decoder.max_message = MESSAGE_MAX
        self._decoder.at_once = FRAMES_AT_ONCE
        self._decoder.direct = True
        self.accepted = True

    def close(self) -> None:
        """Release all memory now: the garbage collector may find a link only after a long time."""
        self.discards = True
        self._space = memoryview(b"")
        self._decoder = frames.FrameDecoder(masked=self._masked, max_message=0)
        self._unhandled.clear()
        self._unfinished = self._memory.recount(self._unfinished, 0)

    @property
    def pending(self) -> bool:
        """Whether received input has not been handled yet."""
        return not self.discards and (self._decoder.more or bool(self._unhandled))

    # --- reading ----------------------------------------------------------------------------------

    def space(self) -> memoryview:
        """Return the buffer for the next read."""
        space = None if self.discards else self._decoder.space()
        self._direct = space is not None
        if space is not None:
            return space
        if self.accepted:
            self._space = self._pool.space()
        return self._space

    def received(self, count: int) -> None:
        """Handle ``count`` bytes that were read into :meth:`space`."""
        self.received_bytes += count
        STATISTICS.received += count
        if self._direct:
            self._process(b"", filled=count)
        elif self.accepted and self._pool.allows_views(count):
            self._received_views(count)
        else:
            self._process(self._space[:count])
        if self._budget.spend(count, self):
            self._reading.pause(_BUDGET)

    def feed(self, data: bytes) -> None:
        """Handle bytes that were read before the link had the connection."""
        self.received_bytes += len(data)
        STATISTICS.received += len(data)
        self._process(data)

    def resume(self) -> None:
        """Read again: the next loop iteration has a new read budget."""
        self._reading.resume(_BUDGET)

    def _received_views(self, count: int) -> None:
        if count >= RECEIVE_BUFFER:  # more is in the socket
            self._process(self._space[:count], views=True)
            return
        self._iteration.read_begins()
        try:
            self._process(self._space[:count], views=True)
        finally:
            self._iteration.read_ends()

    # --- handling ---------------------------------------------------------------------------------

    def _process(self, data: Bytes, *, views: bool = False, filled: int = 0) -> None:
        """Decode and handle ``data``, or ``filled`` bytes of a large frame; without both, what was left before."""
        if self.discards:
            return
        try:
            messages = self._decode(data, views, filled)
            if self._unhandled:
                messages, self._unhandled = self._unhandled + messages, []
            self._handle(messages)
            if not self._unhandled:
                self._decoder.check()
            self._check_bounds(bool(messages))
        except ProtocolError as error:
            self._fail(error)
            return
        except MemoryError:  # a part of a message is lost, and with it the place of all that follows
            self._fail(ProtocolError("the process has no memory for a message", INTERNAL_ERROR))
            return
        if self._decoder.more or self._unhandled:
            self._reading.pause(_UNHANDLED)
            # Not with the deferred work of jobs' floods: all users wait for the link.
            self._loop.call_soon(self._continue)

    def _decode(self, data: Bytes, views: bool, filled: int) -> list[tuple[int, Any]]:
        if filled:
            return self._decoder.filled(filled)
        if self._unhandled and not data:
            return []  # earlier messages are handled first
        return self._decoder.feed(data, views=views)

    def _handle(self, messages: list[tuple[int, Any]]) -> None:
        """Handle messages while the time slice lasts, at least one; keep the others."""
        last = len(messages) - 1
        for index, (opcode, payload) in enumerate(messages):
            if opcode == _BINARY:
                if self.delivers:
                    self._owner.link_message(payload)
            else:
                self._control(opcode, payload)
            if index < last and self._slice.is_over():
                self._unhandled = messages[index + 1 :]
                return

    def _check_bounds(self, completed: bool) -> None:
        """Check the memory of the unfinished message, and the number of frames of an unauthenticated peer."""
        self._unfinished = self._memory.recount(self._unfinished, self._decoder.held)
        if self._unfinished > LINK_FREE and self._memory.is_full:
            raise ProtocolError("no memory is left for a message of this size (proxy.memory_max)", MESSAGE_TOO_BIG)
        if not self.accepted and (completed or self._decoder.more):
            self._unauthenticated_frames += 1
            if self._unauthenticated_frames > HANDSHAKE_FRAMES:
                raise ProtocolError("too many frames before the handshake", POLICY_VIOLATION)

    def _continue(self) -> None:
        self._reading.resume(_UNHANDLED)
        self._process(b"")
