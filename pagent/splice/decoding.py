"""An encoded response body on its way to a caller that wants it plain, no faster than the caller takes it.

A small body can decode to a thousand times its size, so what is not sent yet stays encoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pagent.http1.coding import Decoder
from pagent.splice.ends import StreamEnd


class Decoding:
    """Decodes what :meth:`add` gives, as long as the stream is not blocked; :meth:`run` goes on once it is not.

    ``done()`` is called when all is sent and the coded data has ended. CodingError comes out of each method.
    """

    def __init__(self, decoder: Decoder, stream: StreamEnd, done: Callable[[], None]) -> None:
        self._decoder = decoder
        self._stream = stream
        self._done = done
        self._encoded: deque[bytes | memoryview] = deque()
        self._pieces: Iterator[bytes] = iter(())
        self._last = False

    def add(self, data: bytes | memoryview) -> None:
        self._encoded.append(data)
        self.run()

    def end(self) -> None:
        """The body is complete."""
        self._last = True
        self.run()

    def run(self) -> None:
        while not self._stream.blocked:
            piece = next(self._pieces, None)
            if piece is not None:
                self._stream.send(piece)
            elif self._encoded:
                self._pieces = self._decoder.feed(self._encoded.popleft())
            else:
                break
        else:
            return
        if self._last:
            self._decoder.finish()
            self._done()
