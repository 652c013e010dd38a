"""Raw bytes between a stream and a TCP connection (docs/contract.rst, "Proxy").

Back pressure passes to the other side, and so does the end: an empty bin is the half-close of its direction. A tunnel
that breaks is reset on the other side, never ended, because a program takes the end of a connection for the end of the
data. The same splice serves both ends of a tunnel: the agent's connection to a job, and the local connection of
``pagent run``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pagent.buffers import BYTES_TYPES
from pagent.jobs.activity import JobActivity
from pagent.net.port.connection import PortConnection
from pagent.splice.ends import StreamEnd


class TcpSplice:
    """Moves bytes both ways until both directions have ended, or one end is lost.

    ``done(error)`` is called once, after the connection was closed; None for a clean end.

    :param close_ends: whether a stream close without an empty bin before it ends its direction. A caller's does. A
        callee's means that the call has failed.
    :param activity: the clocks of the job that the connection leads to.
    :param answered: called with the splice at the first byte of the connection, or at its end without one.
    """

    __slots__ = ("_activity", "_answered", "_close_ends", "_done", "_port", "_port_ended", "_stream", "_stream_ended")

    def __init__(
        self,
        stream: StreamEnd,
        done: Callable[[Exception | None], None],
        *,
        close_ends: bool = True,
        answered: Callable[[TcpSplice], None] | None = None,
        activity: JobActivity | None = None,
    ) -> None:
        self._activity = activity
        self._answered = answered
        self._close_ends = close_ends
        self._stream = stream
        self._done: Callable[[Exception | None], None] | None = done
        self._port: PortConnection | None = None
        self._port_ended = False
        self._stream_ended = False

    def start(self, port: PortConnection) -> None:
        """Begin with a connection that resets, and whose user this splice already is."""
        self._port = port
        if port.closed:
            return
        if self._stream.blocked:  # by bytes of the job that arrived before
            port.pause_reading()
        self._stream.attach(self, splits=True)
        if port.blocked:  # by bytes that were written before
            self._stream.hold()

    # --- from the connection ----------------------------------------------------------------------

    def port_data(self, data: bytes) -> None:
        if self._answered is not None:
            self._settle_answer()
        self._stream.send(data)

    def port_eof(self) -> None:
        self._port_ended = True
        self._stream.send(b"")
        self._end_if_both()

    def port_blocked(self) -> None:
        self._stream.hold()

    def port_writable(self) -> None:
        self._stream.release()

    def port_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionResetError("the connection was lost"))

    # --- from the stream --------------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if not isinstance(value, BYTES_TYPES):
            raise ValueError(f"a tunnel carries bytes, not {type(value).__name__}")
        if self._stream_ended:
            raise ValueError("data after the end of its direction")
        if self._port is None:
            return
        if value:
            if self._activity is not None:
                self._activity.piece_arrived(value)
            self._port.write(value)
        else:
            self._half_close()

    def stream_closed(self) -> None:
        if self._stream_ended:
            return
        if self._close_ends:
            self._half_close()
        else:
            self.stream_lost("the far end broke off")

    def stream_blocked(self) -> None:
        if self._port is not None:
            self._port.pause_reading()

    def stream_writable(self) -> None:
        if self._port is not None:
            self._port.resume_reading()

    def stream_lost(self, reason: str) -> None:
        if self._port is not None:
            self._port.abort()
        self._end(ConnectionAbortedError(reason))

    # --- ends -------------------------------------------------------------------------------------

    def _settle_answer(self) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(self)

    def _half_close(self) -> None:
        self._stream_ended = True
        if self._port is not None:
            self._port.write_eof()
        self._end_if_both()

    def _end_if_both(self) -> None:
        if self._port_ended and self._stream_ended:
            if self._port is not None:
                self._port.close()
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        self._settle_answer()
        done, self._done = self._done, None
        if done is not None:
            done(error)
