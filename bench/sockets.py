"""Lanes on streams that stay open: ``ws_connect`` and ``tcp_connect``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from bench import wire
from bench.calls import Body, Call
from bench.link import LinkDriver, bin_length
from bench.way import Fault, idle, until
from pagent.wire import messages

_READY_TIMEOUT_S: Final = 10.0
_TRUE: Final = b"\xc3"
_BINARY: Final = 2


class Socket(Call):
    """A stream that opens with ``true`` and then carries messages: ``ws_connect`` or ``tcp_connect``."""

    __slots__ = ("_opened",)

    def __init__(self, driver: LinkDriver, method: str, args: list[Any]) -> None:
        super().__init__(driver, messages.BISTREAM, method, args)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        super().send()
        await until(self._opened, self._driver.fault, _READY_TIMEOUT_S)

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind != messages.RESPONSE_MESSAGE:
            self._fail(kind, piece)
        elif piece[at:] == _TRUE:
            self._driver.calls[self._call_id] = self.data
            self._opened.set_result(None)
        else:
            self._opened.set_exception(Fault("the job could not be reached"))

    def data(self, kind: int, piece: bytes, at: int, length: int) -> None:
        """A message of the open socket."""
        if kind != messages.RESPONSE_MESSAGE:
            self._fail(kind, piece)
            return
        self._received -= bin_length(piece, at, length)
        if self._received == 0:
            self.done()
        elif self._received < 0:
            self._driver.fail("more came than was asked for")


class Echo(Socket):
    __slots__ = ("_message", "_size")

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, "ws_connect", [job, "/ws", [], list(wire.FIELDS)])
        self._size = size
        self._message = b""

    def send(self) -> None:
        if not self._message:
            head = messages.stream_prefix(messages.REQUEST_MESSAGE, self._call_id) + messages.bin_header(self._size)
            self._message = self._driver.frame(head + bytes(self._size))
        self._received = self._size
        self._driver.send(self._message)


class TunnelGet(Socket):
    """A request through a tunnel; the answer's head has a known length."""

    def __init__(self, driver: LinkDriver, job: str, size: int, *, varied: bool) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._size = size
        self._request = wire.gets(size, varied=varied)

    def send(self) -> None:
        self._received = wire.HEAD_BYTES + self._size
        self._send(messages.REQUEST_MESSAGE, _bin(self._request()))


class TunnelPut(Socket):
    def __init__(self, driver: LinkDriver, job: str, size: int, rate: float | None) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._request = wire.request("POST", "/bytes/0", ("Content-Length", str(size)))
        self._body = Body(driver, size, rate, idle)

    def send(self) -> None:
        self._received = wire.HEAD_BYTES + 12
        self._send(messages.REQUEST_MESSAGE, _bin(self._request))
        self._body.start(self._packed_id)


class TunnelEcho(Socket):
    """A WebSocket inside a tunnel. The echo is one frame, so its bytes are counted only."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._frame = wire.frame(_BINARY, bytes(size), masked=True)
        self._echo_bytes = len(wire.frame(_BINARY, bytes(size), masked=False))
        self._message = b""

    async def open(self) -> None:
        await super().open()
        upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done = lambda: upgraded.set_result(None)
        self._received = wire.HEAD_BYTES
        self._send(messages.REQUEST_MESSAGE, _bin(wire.upgrade_request("/ws")))
        await until(upgraded, self._driver.fault, _READY_TIMEOUT_S)
        head = messages.stream_prefix(messages.REQUEST_MESSAGE, self._call_id) + messages.bin_header(len(self._frame))
        self._message = self._driver.frame(head + self._frame)

    def send(self) -> None:
        self._received = self._echo_bytes
        self._driver.send(self._message)


class TunnelEvents(Socket):
    """The job's events through a tunnel."""

    def __init__(self, driver: LinkDriver, job: str, seen: Callable[[int], None]) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._seen = seen

    def send(self) -> None:
        self._send(messages.REQUEST_MESSAGE, _bin(wire.request("GET", "/events")))

    def data(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind != messages.RESPONSE_MESSAGE:
            self._fail(kind, piece)
            return
        for time in wire.event_times(piece):
            self._seen(time)


def _bin(data: bytes) -> bytes:
    return b"\xc5" + len(data).to_bytes(2, "big") + data
