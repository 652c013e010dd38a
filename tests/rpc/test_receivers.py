"""Receivers that fail: each of their callbacks costs its own call, never the link or another call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.errors import CallCancelledError, CallError, LinkClosedError, ServerError
from pagent.limits import STREAM_WINDOW
from pagent.rpc import methods
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.stream import Stream
from pagent.wire import messages
from tests.kit.ends import RecordingReceiver
from tests.kit.joined import Joined


class Fails(RecordingReceiver):
    """Raises in one of its callbacks."""

    def __init__(self, stream: Stream, where: str) -> None:
        super().__init__()
        self._where = where
        stream.attach(self)

    def record(self, what: str) -> None:
        super().record(what)
        if what == self._where:
            raise ZeroDivisionError(f"a fault in {what}")


class Service:
    def __init__(self) -> None:
        self.receivers: list[Fails] = []
        self.streams: list[Stream] = []

    @methods.bistream
    def failing(self, call: IncomingCall, where: str) -> None:
        """Its receiver fails."""
        assert call.stream is not None
        self.streams.append(call.stream)
        self.receivers.append(Fails(call.stream, where))

    @methods.bistream
    def source(self, call: IncomingCall) -> None:
        """Sends when the test says so, and never fails."""
        assert call.stream is not None
        self.streams.append(call.stream)
        self.receivers.append(Fails(call.stream, "never"))

    @methods.unary
    def add(self, call: IncomingCall, one: int, other: int) -> int:
        return one + other


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def joined(service: Service) -> AsyncIterator[Joined]:
    made = Joined(methods.methods_of(service))
    await made.settle()
    yield made
    await made.close()


async def resumed(joined: Joined) -> None:
    """Another call of the link, in both directions."""
    calls = [end.start_call(messages.UNARY, "add", [1, 2], {}) for end in joined.ends]
    await joined.settle()
    assert [await call.result for call in calls] == [3, 3]


async def failing_callee(joined: Joined, service: Service, where: str) -> tuple[asyncio.Future[Any], Stream, Stream]:
    """A call whose callee fails at ``where``: its result, the caller's stream, the callee's."""
    call = joined.dialled.start_call(messages.BISTREAM, "failing", [where], {})
    await joined.settle()
    assert call.stream is not None
    return call.result, call.stream, service.streams[0]


def more_than_a_window(stream: Stream) -> None:
    """Send more than the peer's credit covers."""
    for _ in range(STREAM_WINDOW // 65_536 + 2):
        stream.send(bytes(65_536))


async def provoke(joined: Joined, where: str, near: Stream, far: Stream) -> None:
    """Have the callback ``where`` made to the receiver of ``near``."""
    match where:
        case "message":
            far.send(b"x")
        case "closed":
            far.close()
        case "blocked":
            more_than_a_window(near)
        case "writable":
            far.hold()
            more_than_a_window(near)
            await joined.settle()
            far.release()
    await joined.settle()


CALLBACKS = ["message", "closed", "blocked", "writable"]


@pytest.mark.parametrize("where", CALLBACKS)
async def test_of_a_callee(joined: Joined, service: Service, where: str, caplog: pytest.LogCaptureFixture) -> None:
    result, caller, callee = await failing_callee(joined, service, where)
    if where == "writable":
        Fails(caller, "never")
    await provoke(joined, where, callee, caller)
    with pytest.raises(ServerError, match=f"ZeroDivisionError: a fault in {where}"):
        result.result()
    assert service.receivers[0].events[-2:] == [where, "lost"]
    assert "the receiver of failing failed" in caplog.text
    await resumed(joined)


@pytest.mark.parametrize("where", CALLBACKS)
async def test_of_a_caller(joined: Joined, service: Service, where: str, caplog: pytest.LogCaptureFixture) -> None:
    call = joined.dialled.start_call(messages.BISTREAM, "source", [], {})
    assert call.stream is not None
    receiver = Fails(call.stream, where)
    await joined.settle()
    await provoke(joined, where, call.stream, service.streams[0])
    with pytest.raises(ServerError, match=f"ZeroDivisionError: a fault in {where}"):
        call.result.result()
    assert receiver.events[-2:] == [where, "lost"]
    assert service.receivers[0].events[-1] == "lost"  # its callee was cancelled
    assert "the receiver of source failed" in caplog.text
    await resumed(joined)


async def test_that_fail_at_a_cancel(joined: Joined, service: Service) -> None:
    call = joined.dialled.start_call(messages.BISTREAM, "failing", ["lost"], {})
    await joined.settle()
    call.cancel(CallCancelledError("enough"))
    await joined.settle()
    assert service.receivers[0].events == ["lost"]
    assert not joined.accepted.incoming
    await resumed(joined)


async def test_that_fail_at_a_lost_link_do_not_hide_it_from_others(joined: Joined, service: Service) -> None:
    lost: list[LinkClosedError] = []
    joined.accepted.on_lost.append(lost.append)
    calls = [joined.dialled.start_call(messages.BISTREAM, "failing", ["lost"], {}) for _ in range(3)]
    ours = [Fails(stream, "lost") for call in calls if (stream := call.stream) is not None]
    await joined.settle()
    joined.accepted.link.abort("torn")
    await joined.settle()
    assert [receiver.events for receiver in service.receivers + ours] == [["lost"]] * 6
    assert len(lost) == 1
    for call in calls:
        assert isinstance(call.result.exception(), (CallError, LinkClosedError))
    assert not any(map(calls_left, joined.ends))


def calls_left(end: Connection) -> bool:
    return bool(end.incoming or end.outgoing)
