"""The receiving half of a stream: every state and every input, hold and release, credit, and kept messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pagent.limits import BUFFER_PIECE, MESSAGE_COST_MIN, STREAM_BUFFER, STREAM_WINDOW
from pagent.rpc.receiving import RECEIVING_TRANSITIONS, ReceivingHalf, ReceivingInput, ReceivingState
from pagent.runtime.memory import current_memory
from pagent.runtime.traffic import Traffic
from pagent.wire import messages
from tests.kit.ends import RecordingReceiver
from tests.kit.halves import HalfRig, half_rig
from tests.kit.transfers import eventually

STATES = list(ReceivingState)
OPERATIONS = ["message", "close", "stop", "hold", "release"]


class Keeps(RecordingReceiver):
    """Keeps the values; with ``holds`` it holds the stream after each. It fails on ``b"bad"``."""

    def __init__(self, half: ReceivingHalf) -> None:
        super().__init__()
        self._half = half
        self.values: list[Any] = []
        self.holds = False

    def stream_message(self, value: Any) -> None:
        super().stream_message(value)
        self.values.append(bytes(value) if isinstance(value, memoryview) else value)
        if self.holds:
            self._half.hold()
        if value == b"bad":
            raise ValueError("a receiver that fails")


@pytest.fixture(params=[True, False], ids=["flow", "no flow"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[HalfRig]:
    made, joined = await half_rig(flow=request.param)
    yield made
    await joined.close()


def attach(rig: HalfRig) -> Keeps:
    receiver = Keeps(rig.receiving)
    rig.receiving.attach(receiver, False)
    return receiver


def do(half: ReceivingHalf, operation: str) -> None:
    steps: dict[str, Callable[[], object]] = {
        "message": lambda: half.message_arrived(b"new"),
        "close": half.close_arrived,
        "stop": half.stop,
        "hold": half.hold,
        "release": half.release,
    }
    steps[operation]()


def bring_to(rig: HalfRig, state: ReceivingState) -> Keeps:
    """Bring a half with a receiver to ``state``; CLOSING means that it is held with one message kept."""
    receiver = attach(rig)
    if state is ReceivingState.CLOSING:
        rig.receiving.hold()
        rig.receiving.message_arrived(b"kept")
    if state in (ReceivingState.CLOSING, ReceivingState.CLOSED):
        rig.receiving.close_arrived()
    elif state is ReceivingState.STOPPED:
        rig.receiving.stop()
    assert rig.receiving.state is state
    receiver.events.clear()
    return receiver


#: State after the operation, and the receiver's events; any other pair changes nothing.
AFTER = {
    (ReceivingState.OPEN, "message"): (ReceivingState.OPEN, ["message"]),
    (ReceivingState.OPEN, "close"): (ReceivingState.CLOSED, ["closed"]),
    (ReceivingState.CLOSING, "release"): (ReceivingState.CLOSED, ["message", "closed"]),
    **{(state, "stop"): (ReceivingState.STOPPED, []) for state in ReceivingState},
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STATES)
async def test_every_operation_in_every_state(rig: HalfRig, state: ReceivingState, operation: str) -> None:
    receiver = bring_to(rig, state)
    do(rig.receiving, operation)
    assert (rig.receiving.state, receiver.events) == AFTER.get((state, operation), (state, []))
    assert rig.owner.asked == []
    if operation == "stop":
        assert rig.receiving.kept_messages == rig.receiving.kept_bytes == 0


@pytest.mark.parametrize("happening", list(ReceivingInput))
@pytest.mark.parametrize("state", STATES)
def test_the_table_lacks_what_cannot_happen(state: ReceivingState, happening: ReceivingInput) -> None:
    possible = happening is not ReceivingInput.DELIVERED or state is ReceivingState.CLOSING
    assert (happening in RECEIVING_TRANSITIONS[state]) is possible


async def test_what_arrives_before_the_receiver_is_kept_for_it(rig: HalfRig) -> None:
    sent: list[Any] = [b"one", "two", {"three": 3}, b""]
    for value in sent:
        rig.receiving.message_arrived(value)
    rig.receiving.close_arrived()
    assert rig.receiving.kept_messages == 4
    receiver = attach(rig)
    assert receiver.values == sent
    assert receiver.events[-1] == "closed"
    assert rig.receiving.kept_bytes == 0


async def test_a_receiver_that_holds_gets_one_message_for_each_release(rig: HalfRig) -> None:
    receiver = attach(rig)
    receiver.holds = True
    for number in range(3):
        rig.receiving.message_arrived(bytes([number]))
    rig.receiving.close_arrived()
    for number in range(3):
        assert len(receiver.values) == number + 1
        assert "closed" not in receiver.events
        rig.receiving.release()
    assert receiver.events == ["message", "message", "message", "closed"]


async def test_a_receiver_that_fails_ends_its_call(rig: HalfRig) -> None:
    attach(rig)
    rig.receiving.message_arrived(b"bad")
    assert rig.owner.asked == ["failed"]


async def test_a_receiver_that_fails_on_what_was_kept_ends_its_call(rig: HalfRig) -> None:
    rig.receiving.message_arrived(b"bad")
    attach(rig)
    assert rig.owner.asked == ["failed"]


async def test_a_receiver_that_stops_the_stream_gets_nothing_more(rig: HalfRig) -> None:
    class Stops(Keeps):
        def stream_message(self, value: Any) -> None:
            super().stream_message(value)
            rig.receiving.stop()

    for value in (b"one", b"two"):
        rig.receiving.message_arrived(value)
    receiver = Stops(rig.receiving)
    rig.receiving.attach(receiver, False)
    assert receiver.values == [b"one"]


async def test_what_is_kept_counts_as_memory(rig: HalfRig) -> None:
    before = current_memory().used
    rig.receiving.message_arrived(bytes(5000))
    assert current_memory().used - before == rig.receiving.kept_bytes == 5000
    rig.receiving.stop()
    assert current_memory().used == before


async def test_credit_is_returned_when_the_bytes_are_used() -> None:
    rig, joined = await half_rig(flow=True)
    rig.receiving.message_arrived(bytes(STREAM_WINDOW // 2))
    assert await rig.sent() == []
    attach(rig)
    assert await rig.sent() == [(messages.CALLEE_CREDIT, STREAM_WINDOW // 2)]
    await joined.close()


async def test_credit_that_is_nearly_due_is_returned_early() -> None:
    rig, joined = await half_rig(flow=True)
    attach(rig)
    nearly = STREAM_WINDOW // 2 * 3 // 4
    rig.receiving.message_arrived(bytes(nearly - 100))
    rig.receiving.piggyback_credit()
    assert await rig.sent() == []
    rig.receiving.message_arrived(bytes(100))
    rig.receiving.piggyback_credit()
    rig.receiving.piggyback_credit()
    assert await rig.sent() == [(messages.CALLEE_CREDIT, nearly)]
    await joined.close()


async def test_a_stream_sends_credit_that_is_nearly_due_with_its_data() -> None:
    rig, joined = await half_rig(flow=True)
    attach(rig)
    nearly = STREAM_WINDOW // 2 * 3 // 4
    rig.receiving.message_arrived(bytes(nearly))
    rig.stream.send(b"an echo")
    assert await rig.sent() == [(messages.CALLEE_CREDIT, nearly), (messages.RESPONSE_MESSAGE, b"an echo")]
    await joined.close()


async def test_a_peer_without_credit_gets_none_early() -> None:
    rig, joined = await half_rig(flow=False)
    attach(rig)
    rig.receiving.message_arrived(bytes(STREAM_WINDOW))
    rig.receiving.piggyback_credit()
    assert await rig.sent() == []
    await joined.close()


async def test_no_credit_is_returned_to_a_peer_that_has_closed() -> None:
    rig, joined = await half_rig(flow=True)
    rig.receiving.message_arrived(bytes(STREAM_WINDOW))
    rig.receiving.close_arrived()
    attach(rig)
    rig.receiving.piggyback_credit()
    assert await rig.sent() == []
    await joined.close()


async def test_data_beyond_the_credit_ends_the_call() -> None:
    rig, joined = await half_rig(flow=True)
    rig.receiving.message_arrived(bytes(STREAM_WINDOW))
    assert rig.owner.asked == []
    rig.receiving.message_arrived(b"")
    assert rig.owner.asked == ["overrun"]
    await joined.close()


async def test_a_peer_without_credit_is_spooled_beyond_the_buffer() -> None:
    rig, joined = await half_rig(flow=False)
    pieces = [bytes([number]) * 100_000 for number in range(30)]
    for piece in pieces:
        rig.receiving.message_arrived(piece)
        assert rig.receiving.kept_bytes <= STREAM_BUFFER
    assert rig.receiving.spool is not None
    receiver = attach(rig)
    rig.receiving.close_arrived()
    await eventually(lambda: receiver.events[-1] == "closed")
    assert receiver.values == pieces
    assert rig.receiving.spool is None
    await joined.close()


async def test_bins_come_in_pieces_while_memory_is_short_if_the_receiver_takes_them() -> None:
    rig, joined = await half_rig(flow=False)
    memory = current_memory()
    whole, split = Keeps(rig.receiving), Keeps(rig.receiving)
    memory.change(1 << 50)
    try:
        rig.receiving.attach(whole, False)
        rig.receiving.message_arrived(bytes(3 * BUFFER_PIECE))
        rig.receiving.attach(split, True)
        rig.receiving.message_arrived(bytes(3 * BUFFER_PIECE))
        rig.receiving.message_arrived(b"")
        rig.receiving.message_arrived("text")
    finally:
        memory.change(-(1 << 50))
    assert [len(value) for value in whole.values] == [3 * BUFFER_PIECE]
    assert [len(value) for value in split.values] == [BUFFER_PIECE] * 3 + [0, 4]
    await joined.close()


async def test_messages_of_a_peer_with_credit_are_counted_when_they_arrive(rig: HalfRig) -> None:
    traffic = rig.receiving.traffic = Traffic()
    receiver = attach(rig)
    rig.receiving.message_arrived(b"x")
    rig.receiving.hold()
    rig.receiving.message_arrived(bytes(1000))
    assert len(receiver.values) == 1
    assert traffic.received == (0 if rig.receiving.window is None else MESSAGE_COST_MIN + 1000)
