"""One half of a stream on a real link in memory, with its messages and its calls of its owner."""

from __future__ import annotations

import asyncio
from typing import Any

from pagent.rpc.stream import Stream
from pagent.wire import frames, messages
from tests.kit.ends import RecordingReceiver
from tests.kit.joined import Joined

CALL_ID = 7


class Owner:
    """The call that owns the stream: ``asked`` has the calls of its methods by the half."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream_overrun(self, reason: str) -> None:
        self.asked.append("overrun")

    def stream_failed(self, error: Exception) -> None:
        self.asked.append("failed")

    def stream_flushed(self) -> None:
        self.asked.append("flushed")


class HalfRig:
    """The accepting end of a link, with both halves of a stream of the peer's call. Nothing moves by itself."""

    def __init__(self, joined: Joined, *, flow: bool) -> None:
        self._joined = joined
        self._end = joined.accepted
        self._decoder = frames.FrameDecoder(masked=False, max_message=1 << 24)
        self.flow = flow
        self.owner = Owner()
        self.receiver = RecordingReceiver()
        end = self._end
        self.stream = Stream(end.link, end.scheduler, end.throttle, self.owner, CALL_ID, caller=False, flow=flow)
        self.sending = self.stream.sending
        self.receiving = self.stream.receiving

    def block_link(self) -> None:
        """The transport is above its high-water mark."""
        self._end.link.pause_writing()

    def unblock_link(self) -> None:
        """Let the scheduler send: the transport has room again."""
        self._end.link.resume_writing()

    async def sent(self) -> list[tuple[int, Any]]:
        """Return the messages since the last call: kinds and values."""
        await asyncio.sleep(0)  # a link writes once for each iteration of the loop
        out = self._joined.transports[1].out
        data = bytes(out)
        out.clear()
        found = []
        for opcode, payload in self._decoder.feed(data):
            if opcode == frames.BINARY:
                kind, call_id, value = messages.decode(payload)
                assert call_id == CALL_ID
                found.append((kind, bytes(value) if isinstance(value, memoryview) else value))
        return found


async def half_rig(*, flow: bool) -> tuple[HalfRig, Joined]:
    """A rig on a link whose handshake is done; close the second when done."""
    joined = Joined({}, flow=flow)
    await joined.settle()
    joined.transports[1].out.clear()
    return HalfRig(joined, flow=flow), joined
