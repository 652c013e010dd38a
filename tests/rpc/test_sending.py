"""The sending half of a stream: every state and every input, credit, a full link, and the order of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from pagent.limits import MESSAGE_COST_MIN, STREAM_WINDOW
from pagent.rpc.sending import SENDING_TRANSITIONS, SendingHalf, SendingInput, SendingState
from pagent.runtime.memory import current_memory
from pagent.runtime.traffic import Traffic
from pagent.wire import messages
from tests.kit.halves import CALL_ID, HalfRig, half_rig

MESSAGE, CLOSE, RESULT = messages.RESPONSE_MESSAGE, messages.RESPONSE_CLOSE, messages.RESULT
THE_RESULT = messages.result(CALL_ID, None)

STATES = list(SendingState)
OPERATIONS = ["send", "close", "end", "stop", "stop after result", "credit"]


@pytest.fixture
async def rig() -> AsyncIterator[HalfRig]:
    made, joined = await half_rig(flow=True)
    made.sending.receiver = made.receiver
    yield made
    await joined.close()


def do(half: SendingHalf, operation: str) -> None:
    steps: dict[str, Callable[[], object]] = {
        "send": lambda: half.send(b"x"),
        "close": half.close,
        "end": lambda: half.end(THE_RESULT),
        "stop": half.stop,
        "stop after result": half.stop_after_result,
        "credit": lambda: half.credit_arrived(100),
    }
    steps[operation]()


def bring_to(rig: HalfRig, state: SendingState) -> None:
    """Bring a new half to ``state``; in those that wait, the link is blocked and one message is queued."""
    half = rig.sending
    if state in (SendingState.CLOSING, SendingState.ENDING):
        rig.block_link()
        half.send(b"queued")
    if state in (SendingState.CLOSING, SendingState.CLOSED):
        half.close()
    elif state is SendingState.ENDING:
        half.end(THE_RESULT)
    elif state is SendingState.ENDED:
        half.stop()
    assert half.state is state


#: The state after each operation; None where it is a fault of the caller.
AFTER: dict[SendingState, dict[str, SendingState | None]] = {
    SendingState.OPEN: {"close": SendingState.CLOSED, "end": SendingState.ENDED},
    SendingState.CLOSING: {"close": SendingState.CLOSING, "end": SendingState.ENDING},
    SendingState.CLOSED: {"close": SendingState.CLOSED, "end": SendingState.ENDED},
    SendingState.ENDING: {"close": SendingState.ENDING, "end": None},
    SendingState.ENDED: {"close": SendingState.ENDED, "end": None},
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STATES)
async def test_every_operation_in_every_state(rig: HalfRig, state: SendingState, operation: str) -> None:
    stops = operation.startswith("stop")
    expected = SendingState.ENDED if stops else AFTER[state].get(operation, state)
    bring_to(rig, state)
    await rig.sent()
    if expected is None:
        with pytest.raises(KeyError):
            do(rig.sending, operation)
        return
    do(rig.sending, operation)
    assert rig.sending.state is expected
    sent = await rig.sent()
    waits = state in (SendingState.CLOSING, SendingState.ENDING)
    match operation:
        case "send":
            assert sent == ([(MESSAGE, b"x")] if state is SendingState.OPEN else [])
        case "close":
            assert sent == ([(CLOSE, None)] if state is SendingState.OPEN else [])
        case "end":
            assert [kind for kind, _ in sent] == ([] if waits else [RESULT])
        case _:
            assert sent == []
    if stops:
        assert rig.sending.pending_bytes == 0
        assert not rig.sending.blocked


@pytest.mark.parametrize("happening", list(SendingInput))
@pytest.mark.parametrize("state", STATES)
def test_the_table_lacks_what_cannot_happen(state: SendingState, happening: SendingInput) -> None:
    ended = state in (SendingState.ENDING, SendingState.ENDED)
    possible = {
        SendingInput.CLOSE: state is SendingState.OPEN,
        SendingInput.RESULT: not ended,
        SendingInput.FLUSHED: state in (SendingState.CLOSING, SendingState.ENDING),
        SendingInput.STOP: True,
    }
    assert (happening in SENDING_TRANSITIONS[state]) is possible[happening]


async def test_what_is_queued_goes_before_the_close_and_the_result(rig: HalfRig) -> None:
    rig.block_link()
    for value in (b"one", "two", {"three": 3}):
        rig.sending.send(value)
    rig.sending.send([4])
    rig.sending.close()
    rig.sending.end(THE_RESULT)
    rig.sending.send(b"dropped")
    assert await rig.sent() == []
    assert rig.owner.asked == []
    rig.unblock_link()
    kinds_and_values = await rig.sent()
    assert kinds_and_values[:5] == [
        (MESSAGE, b"one"),
        (MESSAGE, "two"),
        (MESSAGE, {"three": 3}),
        (MESSAGE, [4]),
        (CLOSE, None),
    ]
    assert kinds_and_values[5][0] == RESULT
    assert rig.owner.asked == ["flushed"]
    assert rig.sending.state is SendingState.ENDED


async def test_a_sender_without_credit_waits_for_it(rig: HalfRig) -> None:
    rig.sending.send(bytes(STREAM_WINDOW + 1000))  # it may exceed its credit by one message
    assert rig.sending.credit == -1000
    rig.sending.send(b"waits")
    assert rig.sending.blocked
    assert rig.sending.queued_bytes == 0 < rig.sending.pending_bytes  # nothing that the link could take
    await rig.sent()
    rig.sending.credit_arrived(1000)
    assert await rig.sent() == []
    rig.sending.credit_arrived(1)
    rig.unblock_link()
    assert await rig.sent() == [(MESSAGE, b"waits")]
    assert not rig.sending.blocked
    assert rig.receiver.events == ["blocked", "writable"]


async def test_the_last_message_needs_no_credit(rig: HalfRig) -> None:
    rig.sending.send(bytes(STREAM_WINDOW))
    await rig.sent()
    rig.sending.close()
    assert await rig.sent() == [(CLOSE, None)]


@pytest.mark.parametrize(("value", "cost"), [(b"", 64), (b"x" * 64, 64), (b"x" * 65, 65), ("ü" * 50, 100), ({}, 64)])
async def test_what_a_message_costs(rig: HalfRig, value: object, cost: int) -> None:
    before = rig.sending.credit
    rig.sending.send(value)
    assert before - rig.sending.credit == cost


async def test_without_flow_control_credit_is_never_used_up() -> None:
    rig, joined = await half_rig(flow=False)
    for _ in range(40):
        rig.sending.send(bytes(STREAM_WINDOW // 4))
        await rig.sent()
    assert not rig.sending.blocked
    await joined.close()


async def test_the_queue_counts_as_memory_until_it_is_sent_or_dropped(rig: HalfRig) -> None:
    before = current_memory().used
    rig.block_link()
    rig.sending.send(bytes(5000))
    rig.sending.send(bytes(5000))
    assert current_memory().used - before == rig.sending.pending_bytes > 10_000
    rig.unblock_link()
    assert current_memory().used == before
    rig.block_link()
    rig.sending.send(bytes(5000))
    rig.sending.stop()
    assert current_memory().used == before


async def test_a_source_that_waits_resumes_at_the_peers_result(rig: HalfRig) -> None:
    rig.block_link()
    rig.sending.send(b"queued")
    rig.sending.stop_after_result()
    assert rig.receiver.events == ["blocked", "writable"]
    rig.sending.send(b"dropped")
    rig.unblock_link()
    assert await rig.sent() == []


async def test_messages_are_counted_when_they_are_sent_and_not_while_they_are_queued(rig: HalfRig) -> None:
    traffic = rig.sending.traffic = Traffic()
    rig.sending.send(b"x")
    rig.sending.send(bytes(1000))
    assert traffic.sent == MESSAGE_COST_MIN + 1000
    rig.block_link()
    rig.sending.send(bytes(5000))
    assert traffic.sent == MESSAGE_COST_MIN + 1000
    rig.sending.send_one()
    assert traffic.sent == MESSAGE_COST_MIN + 6000
