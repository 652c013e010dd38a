"""Pass the messages of a stream to an upload in the callback that received them, without a task."""

from __future__ import annotations

import asyncio
from typing import Any

from pagent import limits
from pagent.errors import CallCancelledError
from pagent.files.upload import Upload
from pagent.rpc.calls import IncomingCall
from pagent.runtime.memory import current_memory


class Intake:
    """The receiver of the call's stream, made when the upload can take data. Then await :meth:`finished`.

    While ``UPLOAD_PENDING_MAX`` bytes wait for the disk, the stream is held: its peer gets no more credit. Data that a
    peer without credit sends meanwhile is kept by the stream.
    """

    def __init__(self, call: IncomingCall, upload: Upload) -> None:
        assert call.stream is not None
        self._stream = call.stream
        self._takes_holes = call.connection.holes
        self._upload = upload
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held = False
        self._memory = current_memory()
        self._counted = 0
        upload.on_progress = self._on_progress
        self._stream.attach(self, splits=True)

    async def finished(self) -> None:
        """Wait until the peer has closed its stream.

        OSError from the disk, ValueError for a message that is not data.
        """
        try:
            await self._finished
        finally:
            self._upload.on_progress = None
            self._count(0)

    def _end(self, error: BaseException | None) -> None:
        if self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)

    def _count(self, size: int) -> None:
        """Count the bytes that wait for the disk."""
        self._counted = self._memory.recount(self._counted, size)

    # --- the disk ---------------------------------------------------------------------------------

    def _on_progress(self) -> None:
        self._count(self._upload.buffered)
        if (error := self._upload.error) is not None:
            self._end(error)
        elif self._held and self._upload.pending <= limits.UPLOAD_PENDING_MAX // 2:
            self._held = False
            self._stream.release()

    # --- the stream -------------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if self._finished.done():
            return
        if type(value) is int and self._takes_holes:
            try:
                pending = self._upload.put_hole(value)
            except ValueError as error:
                self._end(error)
                return
        elif isinstance(value, (bytes, bytearray, memoryview)):
            pending = self._upload.put(value)
        else:
            self._end(ValueError(f"file contents come as bytes, not as {type(value).__name__}"))
            return
        self._counted = self._memory.recount(self._counted, self._upload.buffered)
        if pending >= limits.UPLOAD_PENDING_MAX and not self._held:
            self._held = True
            self._stream.hold()

    def stream_closed(self) -> None:
        self._end(None)

    def stream_blocked(self) -> None:
        """Do nothing: this side sends no data."""

    def stream_writable(self) -> None:
        """Do nothing: this side sends no data."""

    def stream_lost(self, reason: str) -> None:
        self._end(CallCancelledError(reason))
