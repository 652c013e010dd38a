"""Decode a response body for its caller, no faster than the caller takes it.

A small body can decode to a thousand times its size, so a part that cannot be sent yet stays encoded. For a caller that
takes all of it, decoding pauses until a later loop iteration, so that other connections have their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from pagent.http1.decoder import Decoder
from pagent.limits import KIB
from pagent.splice.ends import StreamEnd

#: Bytes of one body decoded at once (see ITERATION_WORK).
DECODE_AT_ONCE: Final = 256 * KIB
#: Bytes that a step with less output counts as: a member of a gzip file may be empty.
DECODE_COST_MIN: Final = 16 * KIB


class Decoding:
    """Decodes and sends as long as the stream is not blocked; :meth:`run` continues once it is not.

    ``done()`` is called when all is sent and the coded data has ended, and ``pause(count)`` when ``count`` decoded
    bytes are enough for this iteration. Add no more then, and call :meth:`resume` in a later one. Each method may raise
    CodingError.
    """

    def __init__(
        self, decoder: Decoder, stream: StreamEnd, done: Callable[[], None], pause: Callable[[int], None]
    ) -> None:
        self._decoder = decoder
        self._stream = stream
        self._done = done
        self._pause = pause
        self._encoded: deque[bytes | memoryview] = deque()
        self._pieces: Iterator[bytes] = iter(())
        self._last = False
        #: Whether it waits for a later iteration.
        self.paused = False

    def add(self, data: bytes | memoryview) -> None:
        """Decode the next bytes of the body."""
        self._encoded.append(data)
        self.run()

    def end(self) -> None:
        """Note that the body is complete."""
        self._last = True
        self.run()

    def resume(self) -> None:
        """Continue in a later iteration."""
        self.paused = False
        self.run()

    def run(self) -> None:
        """Continue if the stream is no longer blocked."""
        if self.paused:
            return
        left = DECODE_AT_ONCE
        while not self._stream.blocked:
            if left <= 0:
                self.paused = True
                self._pause(DECODE_AT_ONCE - left)
                return
            piece = next(self._pieces, None)
            if piece is None:
                if not self._encoded:
                    break
                self._pieces = self._decoder.feed(self._encoded.popleft())
                continue
            if piece:
                self._stream.send(piece)
            left -= max(len(piece), DECODE_COST_MIN)
        else:
            return
        if self._last:
            self._decoder.finish()
            self._done()
