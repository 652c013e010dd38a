"""A stream into an upload, in push style: its data is on the way to the disk before any task could wake up for it."""

from __future__ import annotations

import asyncio
from typing import Any

from pagent import limits
from pagent.errors import CallCancelledError
from pagent.files.transfer import Upload
from pagent.net.memory import Held, current_memory
from pagent.rpc.calls import IncomingCall


class Intake:
    """The receiver of the call's stream. Made when the upload can take data; then await :meth:`finished`.

    When the upload is behind, a peer with flow control gets no more credit. The link of one without is not read for a
    moment: its data would only go to the same disk by a detour. Everything else on the link waits for that as well, so
    it is for disks that catch up within milliseconds, and after each time the link is read for as long.
    """

    def __init__(self, call: IncomingCall, upload: Upload) -> None:
        assert call.stream is not None
        self._stream = call.stream
        self._link = call.connection.link
        self._takes_holes = call.connection.holes
        self._may_choke = not call.connection.flow
        self._upload = upload
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held = False
        self._loop = asyncio.get_running_loop()
        self._choked: asyncio.TimerHandle | None = None
        self._choked_at = 0.0
        self._rest_until = 0.0
        self._behind = Held(current_memory())
        upload.moved = self._moved
        self._stream.attach(self, splits=True)

    async def finished(self) -> None:
        """Until the peer sends no more. The errors of the disk, ValueError for what is no data."""
        try:
            await self._finished
        finally:
            self._upload.moved = None
            self._behind.set(0)
            self._let_go()

    def _end(self, error: BaseException | None) -> None:
        self._let_go()
        if self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)

    # --- while the disk is behind -----------------------------------------------------------------

    def _moved(self) -> None:
        self._behind.set(self._upload.buffered)
        if (error := self._upload.error) is not None:
            self._end(error)
        elif self._upload.behind <= limits.DISK_BEHIND // 2:
            self._let_go()
            if self._held:
                self._held = False
                self._stream.release()

    def _wait(self) -> None:
        now = self._loop.time()
        if self._may_choke and now >= self._rest_until:
            self._choked_at = now
            self._choked = self._loop.call_later(limits.DISK_CHOKE_MAX_S, self._in_vain)
            self._link.choke(True)
        else:
            self._hold()

    def _hold(self) -> None:
        self._held = True
        self._stream.hold()

    def _in_vain(self) -> None:
        self._hold()
        self._let_go()
        self._rest_until = self._loop.time() + limits.DISK_CHOKE_REST_S

    def _let_go(self) -> None:
        if self._choked is not None:
            self._choked.cancel()
            self._choked = None
            now = self._loop.time()
            self._rest_until = now + (now - self._choked_at)
            self._link.choke(False)

    # --- the push face ----------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if self._finished.done():
            return
        if type(value) is int and self._takes_holes:
            try:
                behind = self._upload.give_hole(value)
            except ValueError as error:
                self._end(error)
                return
        elif isinstance(value, (bytes, bytearray, memoryview)):
            behind = self._upload.give(value)
        else:
            self._end(ValueError(f"file contents come as bytes, not as {type(value).__name__}"))
            return
        self._behind.set(self._upload.buffered)
        if behind < limits.DISK_BEHIND or self._held:
            return
        if self._choked is None:
            self._wait()
        elif behind >= 2 * limits.DISK_BEHIND:
            self._hold()  # this does not come from the link any more, but out of a spool

    def stream_closed(self) -> None:
        self._end(None)

    def stream_blocked(self) -> None:
        """Nothing is sent."""

    def stream_writable(self) -> None:
        """As above."""

    def stream_lost(self, reason: str) -> None:
        self._end(CallCancelledError(reason))
