"""The async face of streams: one message ahead, back pressure in both directions, and each kind of end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagent.errors import CallCancelledError, CallTimeoutError, LinkClosedError, MethodError
from pagent.limits import STREAM_BUFFER, STREAM_WINDOW
from pagent.rpc import methods
from pagent.rpc.aio import AsyncStream, StreamCall
from pagent.rpc.calls import IncomingCall
from pagent.wire import messages
from tests.kit.ends import RecordingReceiver
from tests.kit.joined import Joined
from tests.kit.peer import PATIENCE_S
from tests.kit.transfers import eventually


class Service:
    """One method, whose calls the tests work on from both ends."""

    def __init__(self) -> None:
        self.calls: list[IncomingCall] = []

    @methods.bistream
    def both(self, call: IncomingCall) -> None:
        self.calls.append(call)


class Rig:
    """A call: ``ours`` is the caller's face, ``theirs`` the callee's."""

    def __init__(self, joined: Joined, service: Service) -> None:
        self.joined = joined
        self.ours: StreamCall = joined.dialled.open_stream(messages.BISTREAM, "both")
        self._service = service

    @property
    def incoming(self) -> IncomingCall:
        return self._service.calls[-1]

    async def begin(self) -> None:
        await self.joined.settle()
        assert self.incoming.stream is not None
        self.theirs = AsyncStream(self.incoming.stream)

    async def during(self, work: Any) -> Any:
        """The outcome of a coroutine while bytes move."""
        task = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not task.done():
                    await self.joined.settle()
        finally:
            task.cancel()
        return await task


@pytest.fixture(params=[True, False], ids=["flow", "no flow"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    service = Service()
    joined = Joined(methods.methods_of(service), flow=request.param)
    await joined.settle()
    made = Rig(joined, service)
    await made.begin()
    yield made
    await joined.close()


async def test_messages_in_order_then_the_end(rig: Rig) -> None:
    for number in range(5):
        await rig.ours.send(number)
    rig.ours.close()
    await rig.joined.settle()
    assert rig.theirs.stream.receiving.kept_messages == 4  # one is taken from the push face
    assert [value async for value in rig.theirs] == list(range(5))
    assert await rig.theirs.receive() is None
    assert await rig.theirs.receive() is None


async def test_a_reader_that_waits(rig: Rig) -> None:
    reading = asyncio.ensure_future(rig.theirs.receive())
    await rig.joined.settle()
    assert not reading.done()
    await rig.ours.send(b"")
    assert await rig.during(reading) == b""
    reading = asyncio.ensure_future(rig.theirs.receive())
    await rig.joined.settle()
    rig.ours.close()
    assert await rig.during(reading) is None


async def test_a_reader_that_was_cancelled_loses_nothing(rig: Rig) -> None:
    reading = asyncio.ensure_future(rig.theirs.receive())
    await rig.joined.settle()
    reading.cancel()
    await rig.ours.send(1)
    await rig.ours.send(2)
    await rig.joined.settle()
    assert reading.cancelled()
    assert [await rig.theirs.receive(), await rig.during(rig.theirs.receive())] == [1, 2]


async def test_a_reader_that_is_cancelled_as_its_message_arrives(rig: Rig) -> None:
    reading = asyncio.ensure_future(rig.theirs.receive())
    await rig.joined.settle()
    rig.theirs.stream_message("came")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await rig.theirs.receive() == "came"


async def send_until_full(stream: AsyncStream, sent: list[bytes] | None = None) -> asyncio.Task[None]:
    """A sender that waits for its peer or its link. ``sent``: the messages sent, to which it adds."""
    sent = [] if sent is None else sent
    for number in range(100):
        sent.append(bytes((number,)) * STREAM_WINDOW)
        sending = asyncio.ensure_future(stream.send(sent[-1]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not sending.done():
            return sending
    raise AssertionError("it never waits")


async def take_all(stream: AsyncStream) -> list[bytes]:
    return [bytes(piece) async for piece in stream]


async def test_a_sender_waits_for_room(rig: Rig) -> None:
    sent: list[bytes] = []
    sending = await send_until_full(rig.ours, sent)
    assert not sending.done()
    taking = asyncio.ensure_future(take_all(rig.theirs))
    await rig.during(sending)
    rig.ours.close()
    assert await rig.during(taking) == sent


async def test_a_waiting_sender_returns_at_the_result(rig: Rig) -> None:
    sending = await send_until_full(rig.ours)
    rig.incoming.finish("enough")
    await rig.during(sending)
    assert await rig.during(rig.ours.result()) == "enough"
    await rig.ours.send(b"dropped")  # no error, and no wait


async def test_all_waiting_senders_return_when_there_is_room(rig: Rig) -> None:
    sent: list[bytes] = []
    sending = [await send_until_full(rig.ours, sent) for _ in range(3)]
    sending[0].cancel()
    taking = asyncio.ensure_future(take_all(rig.theirs))
    await rig.during(asyncio.gather(*sending[1:]))
    rig.ours.close()
    assert await rig.during(taking) == sent  # also messages that its sender did not wait for: they were queued


async def test_all_waiting_readers_return_at_the_end(rig: Rig) -> None:
    readers = [asyncio.ensure_future(rig.ours.receive()) for _ in range(3)]
    await rig.joined.settle()
    readers[0].cancel()
    result = asyncio.ensure_future(rig.ours.result())
    await rig.joined.settle()
    rig.incoming.finish("done")
    assert await rig.during(result) == "done"
    assert await rig.during(asyncio.gather(*readers[1:])) == [None, None]


async def test_nothing_is_kept_for_a_callee_that_has_ended(rig: Rig) -> None:
    sending = await send_until_full(rig.ours)
    rig.incoming.finish("enough")
    await rig.during(sending)
    stream = rig.ours.stream
    assert rig.ours.is_over
    for _ in range(100):
        await rig.ours.send(bytes(100_000))
    assert stream.sending.pending_bytes == 0
    assert not stream.blocked
    rig.ours.close()
    await rig.joined.settle()
    assert rig.joined.dialled.is_open


async def test_a_stopped_source_resumes_after_the_peers_result(rig: Rig) -> None:
    call = rig.joined.dialled.start_call(messages.BISTREAM, "both", [], {})
    assert call.stream is not None
    heard = RecordingReceiver()
    call.stream.attach(heard)
    await rig.joined.settle()
    while not call.stream.blocked:
        call.stream.send(bytes(STREAM_WINDOW))
    incoming = rig.incoming
    incoming.finish()
    await rig.joined.settle()
    assert heard.events == ["blocked", "writable", "closed"]
    assert not call.stream.blocked


async def test_a_waiting_sender_raises_the_failure(rig: Rig) -> None:
    sending = await send_until_full(rig.ours)
    rig.incoming.fail(ValueError("not so"))
    with pytest.raises(MethodError, match="not so"):
        await rig.during(sending)
    with pytest.raises(MethodError, match="not so"):
        await rig.ours.send(b"")
    with pytest.raises(MethodError, match="not so"):
        await rig.during(rig.ours.result())


async def test_a_failure_comes_after_what_was_sent(rig: Rig) -> None:
    await rig.theirs.send(1)
    await rig.theirs.send(2)
    rig.incoming.fail(ValueError("not so"))
    await rig.joined.settle()
    assert [value async for value in rig.ours] == [1, 2]
    with pytest.raises(MethodError, match="not so"):
        await rig.during(rig.ours.result())


async def test_both_faces_raise_after_a_cancel(rig: Rig) -> None:
    reading = [asyncio.ensure_future(face.receive()) for face in (rig.ours, rig.theirs)]
    sending = await send_until_full(rig.theirs)
    async with rig.ours:
        pass
    for waiting in reading:
        with pytest.raises(CallCancelledError):
            await rig.during(waiting)
    await rig.during(sending)  # it is queued
    with pytest.raises(CallCancelledError, match="cancelled the call"):
        await rig.theirs.send(b"")
    with pytest.raises(CallCancelledError, match="given up"):
        await rig.ours.result()


async def test_both_faces_raise_after_a_lost_link(rig: Rig) -> None:
    reading = [asyncio.ensure_future(face.receive()) for face in (rig.ours, rig.theirs)]
    await rig.joined.settle()
    rig.joined.dialled.link.abort("cut")
    with pytest.raises(LinkClosedError):
        await rig.during(reading[0])
    with pytest.raises(CallCancelledError, match="link was lost"):
        await rig.during(reading[1])
    with pytest.raises(LinkClosedError):
        await rig.ours.send(b"")


async def test_what_came_before_a_loss_can_be_read(rig: Rig) -> None:
    await rig.theirs.send("last words")
    await rig.joined.settle()
    rig.joined.dialled.link.abort("cut")
    assert await rig.ours.receive() == "last words"
    with pytest.raises(LinkClosedError):
        await rig.ours.receive()


async def test_no_result_before_the_timeout(rig: Rig) -> None:
    with pytest.raises(CallTimeoutError, match="no result of both within"):
        await rig.during(rig.ours.result(timeout=0.01))
    await rig.joined.settle()
    assert rig.incoming.ended
    assert rig.joined.accepted.incoming == rig.joined.dialled.outgoing == {}


async def test_the_result_drops_what_was_not_read(rig: Rig) -> None:
    """Unread messages are dropped, and do not hold the callee up."""
    waiting = asyncio.ensure_future(rig.ours.result())
    for _ in range(20):
        await rig.during(rig.theirs.send(bytes(STREAM_WINDOW)))
    rig.incoming.finish(20)
    assert await rig.during(waiting) == 20


async def test_leaving_the_block_unread_closes_the_spool() -> None:
    """A call has ended and its messages lie in a file: leaving the block closes it."""
    service = Service()
    joined = Joined(methods.methods_of(service), flow=False)
    await joined.settle()
    rig = Rig(joined, service)
    await rig.begin()
    stream = rig.ours.stream
    async with rig.ours:
        rig.theirs.stream.send(b"first")
        for _ in range(2 * STREAM_BUFFER // STREAM_WINDOW + 1):
            rig.theirs.stream.send(bytes(STREAM_WINDOW))
        rig.incoming.finish("done")
        while not rig.ours.is_over:
            await joined.settle()
        spool = stream.receiving.spool
        assert spool is not None
    assert stream.receiving.spool is None
    await eventually(lambda: spool.is_idle and not spool.is_open)
    assert await rig.ours.result() == "done"
    await joined.close()


@pytest.mark.parametrize("waiting", [False, True], ids=["not before", "before"])
async def test_an_early_result_drops_more_than_the_credit(rig: Rig, waiting: bool) -> None:
    """Several messages are unread, and more than the window is still to come when the result is asked for."""

    async def send_much() -> None:
        for _ in range(8):
            await rig.theirs.send(bytes(STREAM_WINDOW))
        rig.incoming.finish("the end")

    sending = asyncio.ensure_future(send_much())
    if waiting:
        await rig.joined.settle()
    assert await rig.during(rig.ours.result()) == "the end"
    await sending
