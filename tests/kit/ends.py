"""The two ends of a splice in memory, a stream and the transport of a connection, and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from pagent.net.port.connection import PortConnection
from pagent.net.port.user import PortUser
from pagent.rpc.receiver import Receiver
from pagent.runtime.silence import SilenceTimer
from pagent.splice.jobport import IdleConnections
from tests.kit.peer import PATIENCE_S


class MemoryStream:
    """A stream end. ``sent`` lists the messages that were sent; :meth:`arrive` delivers one of the peer."""

    def __init__(self) -> None:
        self.blocked = False
        self.sent: list[Any] = []
        self.held = False
        self.receiver: Receiver | None = None
        self._arrived: list[Any] = []

    def attach(self, receiver: Any, *, splits: bool = False) -> None:
        self.receiver = receiver
        self.held = False
        arrived, self._arrived = self._arrived, []
        for value in arrived:
            receiver.stream_message(value)

    def send(self, value: Any) -> None:
        self.sent.append(value)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    def arrive(self, value: Any) -> None:
        if self.receiver is None:
            self._arrived.append(value)
        else:
            self.receiver.stream_message(value)

    def block(self) -> None:
        self.blocked = True
        if self.receiver is not None:
            self.receiver.stream_blocked()

    def unblock(self) -> None:
        self.blocked = False
        if self.receiver is not None:
            self.receiver.stream_writable()


class RecordingReceiver:
    """A receiver of a stream; ``events`` lists its callbacks."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def record(self, event: str) -> None:
        self.events.append(event)

    def stream_message(self, value: Any) -> None:
        self.record("message")

    def stream_closed(self) -> None:
        self.record("closed")

    def stream_blocked(self) -> None:
        self.record("blocked")

    def stream_writable(self) -> None:
        self.record("writable")

    def stream_lost(self, reason: str) -> None:
        self.record("lost")


class QuietUser:
    """A user of a port connection that ignores all callbacks; tests override those that matter."""

    def port_data(self, data: bytes) -> None:
        pass

    def port_eof(self) -> None:
        pass

    def port_blocked(self) -> None:
        pass

    def port_writable(self) -> None:
        pass

    def port_lost(self, error: Exception | None) -> None:
        pass


class MemoryPort(asyncio.Transport):
    """The transport of ``connection``, whose other end the test is."""

    def __init__(self, connection: PortConnection) -> None:
        super().__init__()
        self.connection = connection
        self.written = bytearray()
        self.reading = True
        self.eof = False
        self.closing = False
        self.aborted = False
        connection.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        assert not self.eof, "data after the end"
        self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def write_eof(self) -> None:
        self.eof = True

    def is_closing(self) -> bool:
        return self.closing or self.aborted

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class MemoryDestination:
    """A port of a job whose connections are in memory: :meth:`accept` or :meth:`refuse` the next one."""

    def __init__(self) -> None:
        self.number = 80
        self.scheme = "http"
        self.idle = IdleConnections(100)
        self.made: list[MemoryPort] = []
        #: For a response that ends with its connection; None: it is complete.
        self.ending: Awaitable[bool] | None = None
        self._waiting: asyncio.Future[None] | None = None

    def completeness(self) -> Awaitable[bool] | None:
        return self.ending

    async def connect(
        self, user: PortUser, made: Callable[[], None] | None = None, *, resets: bool = False
    ) -> PortConnection:
        self._waiting = asyncio.get_running_loop().create_future()
        connection, port = connected(user)
        self.made.append(port)
        await self._waiting
        return connection

    async def accept(self) -> None:
        assert self._waiting is not None
        self._waiting.set_result(None)
        await asyncio.sleep(0)

    async def refuse(self) -> None:
        assert self._waiting is not None
        self._waiting.set_exception(ConnectionRefusedError("refused"))
        await asyncio.sleep(0)


def connected(user: PortUser) -> tuple[PortConnection, MemoryPort]:
    """A connection of this user, and its transport."""
    connection = PortConnection(user)
    return connection, MemoryPort(connection)


class HandLoop:
    """A loop's clock and timers; time stands still until :meth:`advance`."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[HandTimer] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[[], None]) -> HandTimer:
        return self.call_at(self._now + delay, callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> HandTimer:
        timer = HandTimer(when, callback)
        self._timers.append(timer)
        return timer

    @property
    def pending(self) -> int:
        """Timers that are still to fire."""
        return sum(not timer.over for timer in self._timers)

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while due := [timer for timer in self._timers if not timer.over and timer.when <= end]:
            timer = min(due, key=lambda each: each.when)
            self._now = max(self._now, timer.when)
            timer.over = True
            timer.callback()
        self._now = end


class HandTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.over = False

    def cancel(self) -> None:
        self.over = True


class HeldTimers:
    """Timers of ``delay_s`` that call a method of an ``owner``: once armed they wait for :meth:`fire`, however long.

    Compiled modules have such a number in their code: there is no name to patch.
    """

    def __init__(self, patch: pytest.MonkeyPatch, owner: type | tuple[type, ...], delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._delay_s = delay_s
        self._call_later = loop.call_later
        self._timers: list[HandTimer] = []
        self._armed = asyncio.Event()
        patch.setattr(loop, "call_later", self._held)

    def _held(self, delay: float, callback: Callable[..., None], *args: Any, **options: Any) -> Any:
        expire, given = callback, args
        if isinstance(silence := getattr(callback, "__self__", None), SilenceTimer):
            expire, given = silence.expire, silence.args
        if delay != self._delay_s or not isinstance(getattr(expire, "__self__", None), self._owner):
            return self._call_later(delay, callback, *args, **options)
        timer = HandTimer(delay, partial(expire, *given))
        self._timers.append(timer)
        self._armed.set()
        return timer

    async def armed(self) -> None:
        """Wait for the first one."""
        async with asyncio.timeout(PATIENCE_S):
            await self._armed.wait()

    def fire(self) -> int:
        """Let their time pass; return the number of those that were not cancelled."""
        due = [timer for timer in self._timers if not timer.over]
        for timer in due:
            timer.over = True
            timer.callback()
        return len(due)
