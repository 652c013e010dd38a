"""Carry a local connection to a job through a call of ``tcp_connect``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from pagent.errors import CallCancelledError, CallError, LinkError
from pagent.net.port.connection import PortConnection
from pagent.splice.ends import StreamEnd
from pagent.splice.tcp import TcpSplice


class TunnelCall(Protocol):
    """The call of ``tcp_connect`` (``pagent.rpc.calls.OutgoingCall``)."""

    @property
    def stream(self) -> StreamEnd | None:
        """Return its stream; never None for this method."""

    @property
    def result(self) -> asyncio.Future[Any]:
        """Return its result."""

    def cancel(self, error: CallError) -> None:
        """Cancel it."""


class NearEnd:
    """Opens the call once :attr:`port` is connected, and splices when the far end sends ``true``.

    Bytes that the connection sends before are kept, at most one read. If the job does not accept, the connection is
    reset.
    """

    __slots__ = ("_call", "_open_call", "_received", "_received_end", "port")

    def __init__(self, open_call: Callable[[], TunnelCall]) -> None:
        self._open_call = open_call
        self._call: TunnelCall | None = None
        self._received: list[bytes] = []
        self._received_end = False
        self.port = PortConnection(self, self._accepted, resets=True)

    def _accepted(self) -> None:
        try:
            self._call = self._open_call()
        except LinkError:
            self.port.abort()
            return
        self._call.result.add_done_callback(self._result)
        assert self._call.stream is not None
        self._call.stream.attach(self)

    def _result(self, result: asyncio.Future[Any]) -> None:
        """Reset a tunnel that failed at the far end, so that it does not look like one that ended."""
        if result.cancelled() or result.exception() is not None:
            self.port.abort()

    def _ended(self, error: Exception | None) -> None:
        if error is not None and self._call is not None:
            self._call.cancel(CallCancelledError(str(error)))

    def _refused(self) -> None:
        """Give the tunnel up: the far end has no connection to the job."""
        self.port.abort()
        self._ended(ConnectionRefusedError("the job does not accept a connection"))

    # --- until the far end has answered -------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        assert self._call is not None
        assert self._call.stream is not None
        if value is not True:
            self._refused()
            return
        splice = TcpSplice(self._call.stream, self._ended, close_ends=False)
        self.port.user = splice
        splice.start(self.port)
        for data in self._received:
            splice.port_data(data)
        if self._received_end:
            splice.port_eof()
        elif not self._call.stream.blocked:
            self.port.resume_reading()

    def stream_closed(self) -> None:
        self._refused()

    def stream_blocked(self) -> None:
        """Do nothing: no data is sent yet."""

    def stream_writable(self) -> None:
        """Do nothing: no data is sent yet."""

    def stream_lost(self, reason: str) -> None:
        self.port.abort()

    def port_data(self, data: bytes) -> None:
        self._received.append(data)
        self.port.pause_reading()

    def port_eof(self) -> None:
        self._received_end = True

    def port_blocked(self) -> None:
        """Do nothing: no data is written yet."""

    def port_writable(self) -> None:
        """Do nothing: no data is written yet."""

    def port_lost(self, error: Exception | None) -> None:
        self._ended(error or ConnectionResetError("the connection was closed"))
