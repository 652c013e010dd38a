"""Calls between two connections of ours, in both directions, with and without flow control."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from pagent.errors import (
    CallCancelledError,
    CallTimeoutError,
    LinkClosedError,
    MethodError,
    MethodNotFoundError,
    ServerError,
)
from pagent.limits import CALLS_PER_LINK, ERROR_TEXT_MAX, MESSAGE_MAX, MESSAGE_MAX_FOREIGN, STREAM_BUFFER, STREAM_WINDOW
from pagent.rpc import methods
from pagent.rpc.aio import AsyncStream, StreamCall
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.runtime.memory import current_memory
from pagent.wire import messages
from tests.kit.joined import Joined
from tests.kit.peer import PATIENCE_S


class Service:
    """Methods of each type."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.started: list[Any] = []
        self.resume = asyncio.Event()

    @methods.unary
    def large(self, call: IncomingCall, size: int) -> bytes:
        return bytes(size)

    @methods.unary
    def add(self, call: IncomingCall, one: int, other: int = 0) -> int:
        return one + other

    @methods.unary
    async def later(self, call: IncomingCall, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    @methods.unary
    def later_if_true(self, call: IncomingCall, value: Any) -> Any:
        return self.later(call, value) if value else value

    @methods.unary
    async def never(self, call: IncomingCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.append("never")

    @methods.unary
    def fails(self, call: IncomingCall, text: str) -> None:
        raise ValueError(text)

    @methods.unary
    async def breaks(self, call: IncomingCall) -> None:
        raise ZeroDivisionError("a fault")

    @methods.unary
    async def waits_for_what_is_cancelled(self, call: IncomingCall) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @methods.bistream
    async def sends_no_more(self, call: IncomingCall, size: int) -> int:
        """Closes its stream, and runs until its caller closes it as well."""
        assert call.stream is not None
        stream = AsyncStream(call.stream)
        call.stream.send(b"x" * size)
        call.stream.send(b"y")
        stream.close()
        try:
            return sum([len(piece) async for piece in stream])
        finally:
            self.stopped.append("sends_no_more")

    @methods.unary
    def unsendable(self, call: IncomingCall) -> object:
        return object()

    @methods.istream
    async def count(self, call: IncomingCall, size: int, times: int) -> int:
        assert call.stream is not None
        stream = AsyncStream(call.stream)
        for _ in range(times):
            await stream.send(b"x" * size)
        return times

    @methods.ostream
    async def total(self, call: IncomingCall) -> int:
        assert call.stream is not None
        return sum([len(piece) async for piece in AsyncStream(call.stream)])

    @methods.bistream
    async def echo(self, call: IncomingCall) -> str:
        assert call.stream is not None
        stream = AsyncStream(call.stream)
        async for piece in stream:
            await stream.send(piece)
        return "all of it"

    @methods.bistream
    async def sleepy(self, call: IncomingCall) -> int:
        """Takes nothing until the test resumes it."""
        assert call.stream is not None
        self.started.append(call.stream)
        try:
            await self.resume.wait()
            return sum([len(piece) async for piece in AsyncStream(call.stream)])
        finally:
            self.stopped.append("sleepy")


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture(params=[0, 1], ids=["dialled", "accepted"])
async def caller(request: pytest.FixtureRequest, joined: Joined) -> Connection:
    return joined.ends[request.param]


async def during(joined: Joined, work: Any, most: int = 1 << 20) -> Any:
    """Return the outcome of a coroutine, and move bytes meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not task.done():
                await asyncio.sleep(0)
                for transport in joined.transports:
                    transport.move(most)
    finally:
        task.cancel()
    return await task


async def test_the_handshake_identifies_both_ends(joined: Joined) -> None:
    assert joined.dialled.is_open
    assert joined.dialled.uid == joined.accepted.uid != ""
    assert joined.accepted.peer is not None
    assert joined.accepted.peer.token == ""
    assert joined.dialled.flow is joined.accepted.flow


@pytest.mark.parametrize("most", [1, 1 << 20])
async def test_unary_calls(joined: Joined, caller: Connection, most: int) -> None:
    assert await during(joined, caller.call("add", 1, other=2), most) == 3
    assert await during(joined, caller.call("later", {"a": [b"", "ü", None]}), most) == {"a": [b"", "ü", None]}
    assert await during(joined, caller.call("later_if_true", 7), most) == 7
    assert await during(joined, caller.call("later_if_true", 0), most) == 0
    assert joined.dialled.outgoing == joined.accepted.incoming == {}


async def test_errors_of_methods(joined: Joined, caller: Connection) -> None:
    with pytest.raises(MethodError) as caught:
        await during(joined, caller.call("fails", "why"))
    assert (caught.value.cause_type, caught.value.cause_message) == ("ValueError", "why")
    with pytest.raises(MethodError, match="a fault"):
        await during(joined, caller.call("breaks"))
    with pytest.raises(MethodError, match="was cancelled"):
        await during(joined, caller.call("waits_for_what_is_cancelled"))
    with pytest.raises(MethodError, match="missing 1 required"):
        await during(joined, caller.call("add"))
    with pytest.raises(MethodError, match="unexpected keyword"):
        await during(joined, caller.call("add", 1, third=3))
    with pytest.raises(ServerError, match="cannot be sent"):
        await during(joined, caller.call("unsendable"))
    with pytest.raises(MethodNotFoundError):
        await during(joined, caller.call("__class__"))


async def test_texts_of_errors_are_cut(joined: Joined, caller: Connection) -> None:
    with pytest.raises(MethodError) as caught:
        await during(joined, caller.call("fails", "x" * 1_000_000))
    assert len(str(caught.value)) <= ERROR_TEXT_MAX
    assert len(caught.value.cause_message or "") <= ERROR_TEXT_MAX
    with pytest.raises(MethodNotFoundError) as missing:
        await during(joined, caller.call("x" * 1_000_000))
    assert len(str(missing.value)) <= 300


async def test_a_call_type_that_is_not_the_methods(joined: Joined, caller: Connection) -> None:
    call = caller.start_call(messages.BISTREAM, "add", [1], {})
    with pytest.raises(ServerError, match="unary, not bistream"):
        await during(joined, call.result)


async def test_a_stream_from_the_callee(joined: Joined, caller: Connection) -> None:
    async def receive() -> tuple[int, int]:
        async with caller.open_stream(messages.ISTREAM, "count", 100_000, 20) as stream:
            return sum([len(piece) async for piece in stream]), await stream.result()

    assert await during(joined, receive(), 70_000) == (2_000_000, 20)


async def test_a_stream_from_the_caller(joined: Joined, caller: Connection) -> None:
    async def send() -> int:
        async with caller.open_stream(messages.OSTREAM, "total") as stream:
            for size in (0, 1, 100_000, 1_000_000):
                await stream.send(b"x" * size)
            stream.close()
            total: int = await stream.result()
            return total

    assert await during(joined, send()) == 1_100_001


async def test_both_ways_at_once(joined: Joined, caller: Connection) -> None:
    async def there_and_back() -> Any:
        async with caller.open_stream(messages.BISTREAM, "echo") as stream:
            for value in (b"", "", "ü", b"x" * 70_000, 0, False, [], {"a": 1}):
                await stream.send(value)
                assert await stream.receive() == value
            stream.close()
            assert await stream.receive() is None
            return await stream.result()

    assert await during(joined, there_and_back()) == "all of it"


async def test_a_thousand_calls_at_once(joined: Joined, caller: Connection) -> None:
    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(caller.call("later", number) for number in range(1000)))

    assert await during(joined, all_of_them()) == list(range(1000))


async def test_a_cancel_stops_the_method_and_brings_no_result(
    joined: Joined, caller: Connection, service: Service
) -> None:
    call = caller.start_call(messages.UNARY, "never", [], {})
    await joined.settle()
    call.cancel(CallCancelledError("enough"))
    await joined.settle()
    assert service.stopped == ["never"]
    with pytest.raises(CallCancelledError):
        await call.result
    for end in joined.ends:
        assert end.incoming == end.outgoing == {}


async def test_a_cancel_before_the_method_ran_leaves_nothing(joined: Joined, caller: Connection) -> None:
    call = caller.start_call(messages.UNARY, "never", [], {})
    call.cancel(CallCancelledError("enough"))
    await joined.settle()
    assert joined.dialled.incoming == joined.accepted.incoming == {}
    assert len(joined.dialled.tasks) == len(joined.accepted.tasks) == 0


async def test_a_cancel_reaches_a_method_that_has_closed_its_stream(
    joined: Joined, caller: Connection, service: Service
) -> None:
    call = caller.start_call(messages.BISTREAM, "sends_no_more", [1], {})
    await joined.settle()
    assert service.stopped == []
    call.cancel(CallCancelledError("enough"))
    await joined.settle()
    assert service.stopped == ["sends_no_more"]
    for end in joined.ends:
        assert end.incoming == end.outgoing == {}


@pytest.mark.parametrize("size", [1, STREAM_WINDOW])
async def test_a_result_after_a_stream_close(joined: Joined, caller: Connection, size: int) -> None:
    """Also where the close itself waits for the caller to take earlier messages."""
    call = caller.start_call(messages.BISTREAM, "sends_no_more", [size], {})
    assert call.stream is not None
    call.stream.send(b"abc")
    call.stream.close()
    await joined.settle()
    stream = StreamCall(call)

    async def receive() -> tuple[int, int]:
        return sum([len(piece) async for piece in stream]), await stream.result()

    assert await during(joined, receive()) == (size + 1, 3)
    await joined.settle()
    for end in joined.ends:
        assert end.incoming == end.outgoing == {}


async def test_a_call_without_a_result_in_time(joined: Joined, caller: Connection, service: Service) -> None:
    with pytest.raises(CallTimeoutError):
        await during(joined, caller.call("never", timeout=0.01))
    await joined.settle()
    assert service.stopped == ["never"]


async def test_a_caller_that_is_cancelled_cancels_its_call(
    joined: Joined, caller: Connection, service: Service
) -> None:
    task = asyncio.ensure_future(caller.call("never"))
    await joined.settle()
    task.cancel()
    await joined.settle()
    assert task.cancelled()
    assert service.stopped == ["never"]


async def test_a_lost_link_ends_the_calls_of_both_ends(joined: Joined, caller: Connection, service: Service) -> None:
    calls = [end.start_call(messages.UNARY, "never", [], {}) for end in joined.ends]
    lost: list[str] = []
    for end in joined.ends:
        end.on_lost.append(lambda error: lost.append(str(error)))
    await joined.settle()
    caller.link.abort("gone")
    await joined.settle()
    for call in calls:
        with pytest.raises(LinkClosedError):
            await call.result
    assert len(lost) == 2
    assert service.stopped == ["never", "never"]
    with pytest.raises(LinkClosedError):
        await caller.call("add", 1)


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_close_arrives_with_its_code(joined: Joined, caller: Connection, code: int) -> None:
    other = joined.ends[caller is joined.ends[0]]
    await during(joined, caller.close(code, "so"))
    error = await during(joined, other.link.closed)
    assert error.code == code


async def test_a_sender_waits_for_a_receiver_that_takes_nothing(service: Service) -> None:
    joined = Joined(methods.methods_of(service))
    await joined.settle()
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    assert call.stream is not None
    for _ in range(100):
        call.stream.send(b"x" * 10_000)
    await joined.settle()
    assert call.stream.blocked
    (stream,) = service.started
    held = stream.receiving.kept_bytes
    assert STREAM_WINDOW <= held <= STREAM_WINDOW + 10_000
    assert await during(joined, joined.dialled.call("add", 1)) == 1  # no other call waits
    service.resume.set()
    call.stream.close()
    assert await during(joined, call.result) == 1_000_000
    await joined.close()


async def send_raw(joined: Joined, *message: Any) -> None:
    """Send a message from the dialled end that no code of the package would send."""
    joined.dialled.link.send(msgpack.packb(list(message), use_bin_type=True))
    await joined.settle()


@pytest.mark.parametrize(
    "value",
    [b"", "", b"x" * 64, {"a": list(range(1000))}, [[]] * 500],
    ids=["empty bins", "empty strings", "small bins", "maps", "lists"],
)
async def test_a_peer_that_ignores_credit_loses_only_its_call(service: Service, value: Any) -> None:
    joined = Joined(methods.methods_of(service))
    await joined.settle()
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    (stream,) = service.started
    message = msgpack.packb([4, call.call_id, value], use_bin_type=True)
    for sent in range(5000):
        joined.dialled.link.send(message)
        if sent % 10 == 0:
            await joined.settle()
        if call.result.done():
            break
    with pytest.raises(ServerError, match=r"credit|kept"):
        await during(joined, call.result)
    assert stream.receiving.kept_messages == 0
    assert service.stopped == ["sleepy"]
    assert await during(joined, joined.dialled.call("add", 1)) == 1
    await joined.close()


async def test_without_credit_memory_then_disk_then_an_error(service: Service) -> None:
    joined = Joined(methods.methods_of(service), flow=False)
    await joined.settle()
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    (stream,) = service.started
    piece = bytes(range(256)) * 256

    async def send() -> int:
        assert call.stream is not None
        for _ in range(100):
            call.stream.send(piece)
            await joined.settle()
        while stream.receiving.spool is None:  # the throttle pauses the link for some milliseconds
            await joined.settle()
        assert stream.receiving.kept_bytes <= STREAM_BUFFER
        service.resume.set()
        call.stream.close()
        total: int = await call.result
        return total

    assert await during(joined, send()) == 100 * len(piece)
    await joined.close()


async def test_values_among_spooled_data_keep_their_place(service: Service) -> None:
    joined = Joined(methods.methods_of(service), flow=False)
    await joined.settle()
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    (stream,) = service.started
    collector = ValueReceiver()
    sent: list[Any] = []
    for number in range(40):
        sent += [bytes(100_000), {"resize": [number, 24]}, "text"]
    sent.append({"close": 1000})
    for value in sent:
        assert call.stream is not None
        call.stream.send(value)
        await joined.settle()

    async def all_have_arrived() -> None:
        while stream.receiving.spool is None:
            await joined.settle()
        stream.attach(collector)
        while len(collector.values) < len(sent):
            await joined.settle()

    await during(joined, all_have_arrived())
    assert collector.values == sent
    assert not call.result.done()
    await joined.close()


async def test_data_that_waits_for_a_slow_peer_counts_as_memory(service: Service) -> None:
    joined = Joined(methods.methods_of(service))
    await joined.settle()
    before = current_memory().used
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    assert call.stream is not None
    for _ in range(100):
        call.stream.send(b"x" * 10_000)
    await joined.settle()
    held = service.started[0].receiving.kept_bytes
    queued = current_memory().used - before - held
    assert 1_000_000 - held <= queued <= 1_001_000 - held
    call.cancel(CallCancelledError("enough"))
    await joined.settle()
    assert current_memory().used == before
    await joined.close()


class ValueReceiver:
    """A receiver that keeps the values that it is given."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def stream_message(self, value: Any) -> None:
        self.values.append(value if isinstance(value, (str, dict)) else bytes(value))

    def stream_closed(self) -> None: ...

    def stream_blocked(self) -> None: ...

    def stream_writable(self) -> None: ...

    def stream_lost(self, reason: str) -> None: ...


async def test_a_result_does_not_overtake_what_was_sent_before_it(joined: Joined, caller: Connection) -> None:
    async def receive() -> tuple[int, Any]:
        async with caller.open_stream(messages.BISTREAM, "echo") as stream:
            for _ in range(50):
                await stream.send(b"x" * 2000)
            stream.close()
            return sum([len(piece) async for piece in stream]), await stream.result()

    assert await during(joined, receive(), 1000) == (100_000, "all of it")


SENSELESS: dict[str, list[Any]] = {
    "a call id in use": [2, "ID", 20, "add", [], {}],
    "credit of nothing": [10, "ID", 0],
    "credit below nothing": [10, "ID", -5],
    "credit that is no number": [10, "ID", "a lot"],
    "nil on a stream": [4, "ID", None],
    "a message that is too long": [4, "ID", 1, 2],
    "a call type that is none": [2, "ID", 99, "add", [], {}],
    "arguments that are no array": [2, "ID", 20, "add", "no", {}],
    "keywords that are none": [2, "ID", 20, "add", [], {1: 2}],
    "a method that is no name": [2, "ID", 20, 7, [], {}],
}


@pytest.mark.parametrize("name", SENSELESS)
async def test_a_senseless_message_ends_its_own_call(service: Service, name: str) -> None:
    joined = Joined(methods.methods_of(service))
    await joined.settle()
    other = joined.dialled.start_call(messages.UNARY, "never", [], {})
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    await send_raw(joined, *(call.call_id if part == "ID" else part for part in SENSELESS[name]))
    with pytest.raises(ServerError):
        await during(joined, call.result)
    assert service.stopped == ["sleepy"]
    assert not other.result.done()
    assert await during(joined, joined.dialled.call("add", 1)) == 1
    await joined.close()


@pytest.mark.parametrize("kind", [4, 5, 10])
async def test_a_stream_message_for_a_unary_call_ends_it(service: Service, kind: int) -> None:
    joined = Joined(methods.methods_of(service))
    await joined.settle()
    call = joined.dialled.start_call(messages.UNARY, "never", [], {})
    await joined.settle()
    await send_raw(joined, kind, call.call_id, *([] if kind == 5 else [1]))
    with pytest.raises(ServerError, match="unary"):
        await during(joined, call.result)
    await joined.close()


@pytest.mark.parametrize("message", [[3, 99], [4, 99, b""], [5, 99], [8, 99, b""], [9, 99], [7, 99, b"\xc0", 0, None]])
async def test_a_message_for_no_call_is_dropped(joined: Joined, message: list[Any]) -> None:
    await send_raw(joined, *message)
    assert await during(joined, joined.dialled.call("add", 1)) == 1


@pytest.mark.parametrize("message", [[12, 1], [0, 1], ["x", 1], []])
async def test_an_undecodable_message_closes_the_link(joined: Joined, message: list[Any]) -> None:
    await send_raw(joined, *message)
    assert (await during(joined, joined.accepted.link.closed)).code == 1007


@pytest.mark.parametrize("message", [[1, 1, [1, None, {}]], [6, 1, [1, "x", {}], 0, None], [1, 1], [6, 1, 5]])
async def test_a_handshake_on_an_open_link_is_dropped(joined: Joined, message: list[Any]) -> None:
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    message[1] = call.call_id
    await send_raw(joined, *message)
    assert await during(joined, joined.dialled.call("add", 1)) == 1
    assert not call.result.done()
    call.cancel(CallCancelledError("the test is over"))


@pytest.mark.parametrize(("flow", "most"), [(True, MESSAGE_MAX), (False, MESSAGE_MAX_FOREIGN)])
async def test_a_result_that_is_too_long_for_the_peer_ends_its_call(service: Service, flow: bool, most: int) -> None:
    joined = Joined(methods.methods_of(service), flow=flow)
    await joined.settle()
    assert len(await during(joined, joined.dialled.call("large", most - 100))) == most - 100
    with pytest.raises(ServerError, match="too long for one message"):
        await during(joined, joined.dialled.call("large", most))
    assert await during(joined, joined.dialled.call("add", 1)) == 1
    await joined.close()


async def test_credit_without_the_extension_ends_the_call(service: Service) -> None:
    joined = Joined(methods.methods_of(service), flow=False)
    await joined.settle()
    call = joined.dialled.start_call(messages.BISTREAM, "sleepy", [], {})
    await joined.settle()
    await send_raw(joined, 10, call.call_id, 100)
    with pytest.raises(ServerError, match="credit"):
        await during(joined, call.result)
    await joined.close()


async def test_more_calls_than_a_link_may_have_are_refused(joined: Joined, caller: Connection) -> None:
    (callee,) = (end for end in joined.ends if end is not caller)
    start = messages.Start(messages.UNARY, "never", [], {})
    for call_id in range(1 << 30, (1 << 30) + CALLS_PER_LINK - 3):
        callee.incoming[call_id] = IncomingCall(callee, call_id, "never", start)
    running = [caller.start_call(messages.UNARY, "never", [], {}) for _ in range(3)]
    with pytest.raises(ServerError, match=f"more than {CALLS_PER_LINK}"):
        await during(joined, caller.call("add", 1))
    running[0].cancel(CallCancelledError(""))
    assert await during(joined, caller.call("add", 1)) == 1
