"""The sending side of a link: messages in, one write for each loop iteration out.

The owner is notified when the transport's buffer is full (:meth:`LinkOwner.link_blocked`) and when it has room again.
It should keep its data in between, because a small message can no longer overtake data in that buffer.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.buffers import JOIN_MAX, Bytes, joined
from pagent.limits import ANSWERS_MAX, HANDSHAKE_MAX, LINK_HIGH_WATER, LINK_LOW_WATER
from pagent.net.link.batch import WriteBatch
from pagent.net.link.owner import LinkOwner
from pagent.net.link.pacer import Pacer
from pagent.net.link.read_gate import ReadGate
from pagent.wire import frames

# Owner of a pause of the reading.
_UNREAD: Final = "unread answers"
_BINARY: Final = frames.BINARY
_binary_frame: Final = frames.binary_frame
_binary_head: Final = frames.binary_head
_masked_frame: Final = frames.masked_frame


class LinkSender:
    """Writes the messages of a link.

    ``blocked``: the transport's buffer is above its high-water mark. ``live``: messages may be sent.
    """

    __slots__ = ("_accepted", "_batch", "_masks", "_owner", "_reading", "_transport", "blocked", "live", "pacer")

    def __init__(self, owner: LinkOwner, reading: ReadGate, *, masks: bool) -> None:
        # For life.
        self._owner = owner
        self._reading = reading
        self._masks = masks
        self.pacer = Pacer(self._resume_bulk)
        # While connected.
        self._transport: asyncio.Transport | None = None
        self._accepted = False
        self._batch = WriteBatch(self._write)
        self.live = False
        self.blocked = False

    def open(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``, whose peer is not accepted yet."""
        self._transport = transport
        transport.set_write_buffer_limits(high=HANDSHAKE_MAX // 2, low=0)

    def accept(self) -> None:
        """Accept the peer: more data may wait in the transport's buffer."""
        self._accepted = True
        assert self._transport is not None
        self._transport.set_write_buffer_limits(high=LINK_HIGH_WATER, low=LINK_LOW_WATER)

    # --- messages ---------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send one small message."""
        if self._masks:
            self._batch.put(_masked_frame(_BINARY, message))
        else:
            self._batch.put(_binary_frame(message, b""))

    def send_parts(self, stream_id: int, header: bytes, payload: Bytes) -> None:
        """Send one message of two parts; a large payload that is not masked is not copied."""
        size = len(payload)
        if self._masks:
            self._batch.put(_masked_frame(_BINARY, header, payload))
        elif size <= JOIN_MAX:
            self._batch.put(_binary_frame(header, payload))
        else:
            self._batch.put_with_head(_binary_head(header, payload), payload)
        if size > JOIN_MAX and (mark := self.pacer.sent(stream_id, size)) is not None:
            self.control(frames.PING, mark)

    def control(self, opcode: int, payload: Bytes) -> None:
        """Send a control frame."""
        if self._masks:
            self._batch.put(_masked_frame(opcode, payload))
        else:
            self._batch.put(frames.frame_header(opcode, len(payload)) + payload)

    def flush(self) -> None:
        """Give all to the transport now."""
        self._batch.flush()

    # --- the transport's buffer -------------------------------------------------------------------

    def pause(self) -> None:
        """Note that the transport's buffer is above the high-water mark."""
        self.blocked = True
        self._owner.link_blocked()
        self._check_unread()

    def resume(self) -> None:
        """Note that the transport's buffer is below the low-water mark."""
        self.blocked = False
        self._reading.resume(_UNREAD)
        if self.live:
            self._owner.link_writable()

    def _write(self, buffers: list[Bytes], large: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if large:
            self._transport.writelines(joined(buffers))
        else:
            self._transport.write(b"".join(buffers) if len(buffers) > 1 else buffers[0])
        if self.blocked:
            self._check_unread()

    def _check_unread(self) -> None:
        """Pause the reading for a peer that does not read its answers.

        Answers (results, pongs) do not wait for the transport's buffer as streams do.
        """
        assert self._transport is not None
        if self._transport.get_write_buffer_size() > (ANSWERS_MAX if self._accepted else 0):
            self._reading.pause(_UNREAD)

    def _resume_bulk(self) -> None:
        if self.live and not self.blocked:
            self._owner.link_writable()
