"""The load generator's end of a link: a raw pRpc driver, in both roles, without extensions.

Frames are made by hand and written once in each loop iteration. Of a message only the first bytes are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from bench import wire
from bench.scanner import FrameScanner
from bench.way import Fault, until
from pagent.errors import MethodError
from pagent.runtime.tasks import retrieve_error
from pagent.wire import identity, messages
from pagent.wire.upgrade import RPC_PATH, SUBPROTOCOL, ClientUpgrade, accept_upgrade

_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10

_HANDSHAKE_S: Final = 30.0

#: Kind, the message's bytes (see `FrameScanner`), offset after its call id, length of the message.
OnCall = Callable[[int, bytes, int, int], None]


def pack_id(call_id: int) -> bytes:
    """Return the msgpack of a call id."""
    if call_id < 0x80:
        return bytes((call_id,))
    if call_id < 0x100:
        return bytes((0xCC, call_id))
    if call_id < 0x1_0000:
        return b"\xcd" + call_id.to_bytes(2, "big")
    return b"\xce" + call_id.to_bytes(4, "big")


def bin_length(piece: bytes, at: int, length: int) -> int:
    """Return the bytes of the bin at the end of a message of ``length`` bytes; -1 for another value."""
    tag = piece[at]
    if tag == 0xC4:
        return length - at - 2
    if tag == 0xC5:
        return length - at - 3
    if tag == 0xC6:
        return length - at - 5
    return -1


class LinkDriver(asyncio.Protocol):
    """``dials``: whether this end dialled (and masks). ``ready`` is set once the handshake is done."""

    def __init__(self, *, dials: bool, token: str, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.masked = dials
        self._port = port
        self._token = token
        self.ready: asyncio.Future[None] = loop.create_future()
        self.fault: asyncio.Future[None] = loop.create_future()
        self.fault.add_done_callback(retrieve_error)  # it may be set while the rig fails for another reason
        self.calls: dict[int, OnCall] = {}
        self._paused = False
        self.on_resume: list[Callable[[], None]] = []
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._user_data = identity.user_data("bench", "bench", token=token if dials else None)
        self._upgrade = ClientUpgrade(f"127.0.0.1:{port}", RPC_PATH, subprotocols=[SUBPROTOCOL]) if dials else None
        self._head = b""
        self._scanner = FrameScanner(self._message, self._other)
        self._feed = self._upgrading if dials else self._accepting
        self._out: list[bytes] = []
        self._last_id = 0

    # --- the transport ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=1024 * 1024)
        if self._upgrade is not None:
            self._transport.write(self._upgrade.request())

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.fail(f"the link was lost: {exc}")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        for resume in list(self.on_resume):
            resume()

    # --- for lanes --------------------------------------------------------------------------------

    def fail(self, text: str) -> None:
        if not self.fault.done():
            self.fault.set_exception(Fault(text))

    def close(self) -> None:
        """Ignore faults from now on. The connection ends with the agent."""
        self.fault.cancel()

    async def another(self) -> LinkDriver:
        """Return one more link to the same agent, for a driver that dials."""
        driver = LinkDriver(dials=True, token=self._token, port=self._port)
        await self._loop.create_connection(lambda: driver, "127.0.0.1", self._port)
        await until(driver.ready, driver.fault, _HANDSHAKE_S)
        return driver

    def next_id(self, handler: OnCall) -> int:
        """Return the id of a new call. ``handler`` gets its messages until it is removed from ``calls``."""
        self._last_id += 1
        self.calls[self._last_id] = handler
        return self._last_id

    def frame(self, message: bytes) -> bytes:
        return wire.frame(_BINARY, message, masked=self.masked)

    def send(self, data: bytes) -> None:
        """Write whole frames at the end of this loop iteration, together with others."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def write_now(self, data: bytes) -> bool:
        """Write a large frame; return False if no more should follow until ``on_resume`` is called."""
        self._flush()
        if self._transport is not None:
            self._transport.write(data)
        return not self._paused

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the result of a unary call. MethodError if the method raised."""
        answered: asyncio.Future[Any] = self._loop.create_future()

        def arrived(kind: int, piece: bytes, at: int, length: int) -> None:
            if kind == messages.RESULT and not answered.done():
                answered.set_result(messages.decode(piece)[2])

        call_id = self.next_id(arrived)
        self.send(self.frame(messages.call_start(call_id, messages.UNARY, method, args, kwargs)))
        await asyncio.wait((answered, self.fault), return_when=asyncio.FIRST_COMPLETED)
        del self.calls[call_id]
        if not answered.done():
            self.fault.result()
        outcome: messages.Outcome = answered.result()
        if outcome.error is not None:
            raise MethodError(f"{method}: {outcome.error}", outcome.error[1], outcome.error[2])
        return messages.unpack_result(outcome.packed)

    def send_call(self, method: str, *args: Any) -> asyncio.Future[None]:
        """Make a unary call whose result is not read; return when it has come."""
        answered: asyncio.Future[None] = self._loop.create_future()

        def arrived(kind: int, piece: bytes, at: int, length: int) -> None:
            if kind == messages.RESULT:
                del self.calls[call_id]
                answered.set_result(None)

        call_id = self.next_id(arrived)
        self.send(self.frame(messages.call_start(call_id, messages.UNARY, method, args, {})))
        return answered

    # --- handshakes -------------------------------------------------------------------------------

    def _upgrading(self, data: bytes) -> None:
        assert self._upgrade is not None
        rest = self._upgrade.feed(data)
        if rest is not None:
            self._feed = self._scanner.feed
            self.calls[0] = self._greeted
            self.send(self.frame(messages.hello(0, self._user_data)))
            self._feed(rest)

    def _accepting(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._head[:end].split(b"\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        assert self._transport is not None
        self._transport.write(accept_upgrade(first.split(b" ")[1].decode(), fields))
        self._feed = self._scanner.feed
        self._feed(self._head[end + 4 :])

    def _greeted(self, kind: int, piece: bytes, at: int, length: int) -> None:
        del self.calls[0]
        if kind == messages.HANDSHAKE_REPLY:
            self.ready.set_result(None)
        else:
            self.fail("the handshake was not answered")

    # --- messages ---------------------------------------------------------------------------------

    def _message(self, piece: bytes, length: int) -> None:
        kind = piece[1]
        first = piece[2]
        if first < 0x80:
            at, call_id = 3, first
        else:
            at = 3 + (1 << (first - 0xCC))
            call_id = int.from_bytes(piece[3:at], "big")
        if kind == messages.HANDSHAKE:
            self.send(self.frame(messages.hello_reply(call_id, "bench-link", self._user_data)))
            self.ready.set_result(None)
            return
        handler = self.calls.get(call_id)
        if handler is not None:
            handler(kind, piece, at, length)

    def _other(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.send(wire.frame(_PONG, payload, masked=self.masked))
        elif opcode == _CLOSE:
            self.fail(f"the agent closed the link: {payload!r}")
            self._flush()
            if self._transport is not None:
                # The agent would wait for the answer.
                self._transport.write(wire.frame(_CLOSE, payload, masked=self.masked))
                self._transport.close()
