"""The clocks of a job's traffic (docs/contract.rst, "Clocks of a job").

They are read by ``job_info`` and by the idle stop. Every request and every piece of input writes them, so that is a few
attributes, with the time of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from pagent.buffers import Bytes

#: Size of a client's control frame without its payload (RFC 6455 section 5.2): two bytes and the masking key.
_CONTROL_HEAD: Final = 6
#: Its longest payload.
_CONTROL_MAX: Final = 125
#: First bytes of control frames: FIN, and the opcode of a close, a ping or a pong.
_CONTROL: Final = (0x88, 0x89, 0x8A)
_MASKED: Final = 0x80


class JobActivity:
    """Counts the open streams of one job, and notes when requests begin and input comes.

    A *channel* is a connection that a client keeps open whether it is in use or not: a WebSocket, or another upgraded
    connection. It does not keep its job from being idle. Any other stream does, because its client waits for the end.
    """

    __slots__ = ("_busy", "_channels", "_last_end", "_last_input", "_last_request", "_now")

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._busy = 0
        self._channels = 0
        # Times of the loop; 0 for never.
        self._last_request = 0.0
        self._last_input = 0.0
        self._last_end = 0.0

    # --- write ------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Note the start of a request, a tunnel or a process of ``job_exec``."""
        self._busy += 1
        self._last_request = self._now()

    def ended(self) -> None:
        """Note the end of one of them."""
        self._busy -= 1
        self._last_end = self._now()

    def channel_opened(self) -> None:
        """Note the start of a channel."""
        self._channels += 1
        self._last_request = self._now()

    def channel_ended(self) -> None:
        """Note the end of a channel."""
        self._channels -= 1

    def input_arrived(self) -> None:
        """Note bytes of a client."""
        self._last_input = self._now()

    def piece_arrived(self, piece: Bytes) -> None:
        """Note a piece of a raw connection, unless it is exactly one control frame of a WebSocket."""
        if not _is_control_frame(piece):
            self._last_input = self._now()

    # --- read -------------------------------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        """Return the number of requests, tunnels, processes and channels that are open."""
        return self._busy + self._channels

    @property
    def last_request_at(self) -> float | None:
        """Return when the last of them began, in seconds since the epoch; None without any."""
        return self._epoch(self._last_request)

    @property
    def last_input_at(self) -> float | None:
        """Return when a client has sent bytes, in seconds since the epoch; None if none has."""
        return self._epoch(self._last_input)

    def idle_since(self) -> float:
        """Return since when the job has been idle, as a time of the loop: now while it is not idle."""
        if self._busy:
            return self._now()
        return max(self._last_request, self._last_input, self._last_end)

    def _epoch(self, at: float) -> float | None:
        """Convert a time of the loop, which does not jump with the clock."""
        return None if at == 0 else time.time() - (self._now() - at)


def _is_control_frame(piece: Bytes) -> bool:
    size = len(piece) - _CONTROL_HEAD
    return 0 <= size <= _CONTROL_MAX and piece[0] in _CONTROL and piece[1] == _MASKED + size
