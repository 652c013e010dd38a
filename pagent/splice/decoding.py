"""An encoded response body on its way to a caller that wants it plain, no faster than the caller takes it.

A small body can decode to a thousand times its size, so what is not sent yet stays encoded; and for a caller that takes
all of it, decoding pauses until a later turn of the loop, so that others have theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from pagent.http1.coding import Decoder
from pagent.limits import KIB
from pagent.splice.ends import StreamEnd

#: Bytes of one body decoded at once (see LABOUR_TURN).
DECODE_AT_ONCE: Final = 256 * KIB
#: What a step counts for that gives less: a member of a gzip file may be empty.
DECODE_COST_MIN: Final = 16 * KIB


class Decoding:
    """Decodes what :meth:`add` gives, as long as the stream is not blocked; :meth:`run` goes on once it is not.

    ``done()`` is called when all is sent and the coded data has ended; ``pause(count)`` when that is enough for this
    turn, after so many bytes: give no more, and call :meth:`go_on` in a later one. CodingError comes out of each
    method.
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
        #: Whether it waits for a later turn.
        self.paused = False

    def add(self, data: bytes | memoryview) -> None:
        self._encoded.append(data)
        self.run()

    def end(self) -> None:
        """The body is complete."""
        self._last = True
        self.run()

    def go_on(self) -> None:
        """The later turn has come."""
        self.paused = False
        self.run()

    def run(self) -> None:
        """The stream may be free."""
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
