"""Calls of two joined connections against a model: any sequence of actions of callers, callees and the network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pagent.errors import CallCancelledError, LinkClosedError, MethodError, MethodNotFoundError, ServerError
from pagent.limits import STREAM_WINDOW
from pagent.rpc import methods
from pagent.rpc.calls import IncomingCall, OutgoingCall
from pagent.rpc.stream import Stream
from pagent.wire import messages
from tests.conftest import pytest_asyncio_loop_factories
from tests.kit.joined import Joined
from tests.kit.peer import PATIENCE_S

T = TypeVar("T")

#: Around the limits: the least cost, a header's next size, the link's marks, a window.
SIZES = (0, 1, 63, 64, 255, 2000, 66_000, 300_000)
LARGEST = max(SIZES)
ends = st.sampled_from((0, 1))


class Side:
    """One end of a stream: its sent messages, and a receiver that knows the expected ones."""

    def __init__(self, call: Call, faults: list[str]) -> None:
        self.call = call
        self.faults = faults
        self.stream: Stream | None = None
        self.attached = False
        self.expected: list[Any] = []  # messages that the other side sent; None for one that has arrived
        self.got = 0
        self.held = self.holds_itself = self.breaks = self.broke = self.blocked = False
        self.closed = self.lost = False
        self.sends = True
        self.refill = 0
        self.on_break: Callable[[], None] = lambda: None
        self.other: Side

    def attach(self) -> None:
        if self.stream is not None and not self.attached:
            self.attached = True
            self.blocked = self.stream.blocked
            self.stream.attach(self)

    def send(self, value: Any) -> None:
        if self.stream is not None:
            if self.sends and not self.lost:
                self.other.expected.append(value)
            self.stream.send(value)

    def hold(self) -> None:
        if self.attached and self.stream is not None:
            self.held = True
            self.stream.hold()

    def release(self) -> None:
        if self.attached and self.stream is not None:
            self.held = False
            self.stream.release()

    def check(self, fine: bool, fault: str) -> None:
        if not fine:
            self.faults.append(f"{fault} (call {self.call.number})")

    # The push face.

    def stream_message(self, value: Any) -> None:
        self.check(not (self.closed or self.lost), "a message after the end")
        self.check(not self.held, "a message while the stream is held")
        value = bytes(value) if isinstance(value, memoryview) else value
        fits = self.got < len(self.expected) and value == self.expected[self.got]
        self.check(fits, f"message {self.got} is not the one that was sent")
        if fits:
            self.expected[self.got] = None
        self.got += 1
        if self.breaks:
            self.breaks, self.broke = False, True
            self.on_break()
            raise ValueError("a receiver that does not like it")
        if self.holds_itself:
            self.hold()

    def stream_closed(self) -> None:
        self.check(not (self.closed or self.lost), "a second end")
        self.check(not self.held, "the close while the stream is held")
        self.closed = True

    def stream_blocked(self) -> None:
        self.check(not self.blocked, "blocked twice")
        self.blocked = True

    def stream_writable(self) -> None:
        self.check(self.blocked, "writable twice")
        self.blocked = False
        while self.refill and not self.blocked and not self.lost:
            self.refill -= 1
            self.send(b"again %d " % self.refill + bytes(60_000))

    def stream_lost(self, reason: str) -> None:
        self.check(not self.lost, "lost twice")
        self.lost = True


class Call:
    """The model of a call. ``decided`` is the caller's result, as soon as it is certain."""

    def __init__(self, number: int, call_type: int, joined: Joined, faults: list[str]) -> None:
        self.number = number
        self.call_type = call_type
        self.joined = joined
        self.caller, self.callee = Side(self, faults), Side(self, faults)
        self.caller.other, self.callee.other = self.callee, self.caller
        self.caller.on_break, self.callee.on_break = self.caller_broke, self.callee_broke
        self.outgoing: OutgoingCall
        self.incoming: IncomingCall | None = None
        self.gate: asyncio.Future[Any] | None = None  # of a unary call
        self.decided: Any = None
        self.given_up = False  # messages under way may be dropped
        self.endings = 0

    def caller_broke(self) -> None:
        if not self.outgoing.result.done():
            self.decided = ServerError
        self.given_up = True  # also after the result: messages kept for a receiver that fails are dropped

    def callee_broke(self) -> None:
        if self.decided is None:
            self.decided, self.given_up = ServerError, True

    def outcome(self) -> Any:
        error = self.outgoing.result.exception()
        return self.outgoing.result.result() if error is None else type(error)


class Service:
    """A method of each type; the calls wait for the machine."""

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}

    @methods.unary
    async def wait(self, incoming: IncomingCall, number: int) -> Any:
        call = self.calls[number]
        call.incoming = incoming
        call.gate = asyncio.get_running_loop().create_future()
        return await call.gate

    @methods.istream
    def sends(self, incoming: IncomingCall, number: int) -> None:
        self._opened(incoming, number)

    @methods.ostream
    def takes(self, incoming: IncomingCall, number: int) -> None:
        self._opened(incoming, number)

    @methods.bistream
    def both(self, incoming: IncomingCall, number: int) -> None:
        self._opened(incoming, number)

    def _opened(self, incoming: IncomingCall, number: int) -> None:
        call = self.calls[number]
        call.incoming = incoming
        call.callee.stream = incoming.stream
        call.callee.attach()


NAMES = {messages.UNARY: "wait", messages.ISTREAM: "sends", messages.OSTREAM: "takes", messages.BISTREAM: "both"}


class Machine(RuleBasedStateMachine):
    """Each rule is one step; after each, nothing may have come that was not sent, or twice, or out of order."""

    flow = True
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        (factory,) = pytest_asyncio_loop_factories().values()
        self.runner = asyncio.Runner(loop_factory=factory)
        self.runner.get_loop().set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self.service = Service()
        self.joined: Joined = self.run(self.connect())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def connect(self) -> Joined:
        joined = Joined(methods.methods_of(self.service), flow=self.flow)
        await joined.settle()
        assert joined.dialled.flow is joined.accepted.flow is self.flow
        return joined

    def do(self, step: Callable[[], object]) -> None:
        """Run one step in the loop, with one iteration for its writes."""

        async def once() -> None:
            step()

        self.run(once())

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Move bytes until the condition holds. Spools and pauses take their time."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.joined.settle()
                if condition():
                    return
                assert not self.faults, (what, self.faults)
                await asyncio.sleep(0.001)

    # --- rules ------------------------------------------------------------------------------------

    @rule(target=calls, end=ends, call_type=st.sampled_from(sorted(NAMES)), attach=st.booleans(), itself=st.booleans())
    def start(self, end: int, call_type: int, attach: bool, itself: bool) -> Call:
        call = Call(len(self.service.calls), call_type, self.joined, self.faults)
        self.service.calls[call.number] = call
        call.callee.holds_itself = itself

        def step() -> None:
            call.outgoing = self.joined.ends[end].start_call(call_type, NAMES[call_type], [call.number], {})
            call.outgoing.result.add_done_callback(lambda _: setattr(call, "endings", call.endings + 1))
            call.caller.stream = call.outgoing.stream
            if attach:
                call.caller.attach()

        self.do(step)
        return call

    @rule(end=ends, call_type=st.sampled_from(sorted(NAMES)))
    def start_what_is_not_there(self, end: int, call_type: int) -> None:
        async def refused() -> None:
            call = self.joined.ends[end].start_call(call_type, "nothing", [], {})
            await self.until(call.result.done, "the refusal")
            assert isinstance(call.result.exception(), MethodNotFoundError)

        self.run(refused())

    @rule(call=calls)
    def attach(self, call: Call) -> None:
        self.do(call.caller.attach)

    @rule(
        call=calls,
        upwards=st.booleans(),
        kind=st.sampled_from(("bin", "str", "map")),
        size=st.sampled_from(SIZES),
        times=st.integers(1, 6),
        refill=st.integers(0, 6),
    )
    def send(self, call: Call, upwards: bool, kind: str, size: int, times: int, refill: int) -> None:
        side = call.caller if upwards else call.callee

        def step() -> None:
            side.refill = refill
            for _ in range(times):
                mark = f"{len(side.other.expected)} "
                if kind == "bin":
                    side.send(mark.encode() + bytes(size) if size else b"")
                elif kind == "map" and self.flow:  # a spool takes none
                    side.send({mark: [None, 1.5]})
                else:
                    side.send(mark + "ü" * (size // 2))

        self.do(step)

    @rule(call=calls, upwards=st.booleans())
    def close_stream(self, call: Call, upwards: bool) -> None:
        side = call.caller if upwards else call.callee
        if side.stream is not None:
            side.sends = False
            self.do(side.stream.close)

    @rule(call=calls, caller=st.booleans(), itself=st.booleans())
    def hold(self, call: Call, caller: bool, itself: bool) -> None:
        side = call.caller if caller else call.callee
        side.holds_itself = itself
        self.do(side.hold)

    @rule(call=calls, caller=st.booleans())
    def release(self, call: Call, caller: bool) -> None:
        self.do((call.caller if caller else call.callee).release)

    @rule(call=calls, caller=st.booleans())
    def break_receiver(self, call: Call, caller: bool) -> None:
        """Fail on the next message."""
        (call.caller if caller else call.callee).breaks = True

    @rule(call=calls, fails=st.booleans())
    def finish(self, call: Call, fails: bool) -> None:
        self.do(lambda: self.finish_call(call, fails))

    def finish_call(self, call: Call, fails: bool) -> None:
        if call.incoming is None:
            return
        if call.decided is None:
            call.decided = MethodError if fails else [call.number]
            call.callee.sends = False
        if call.gate is not None:
            if not call.gate.done() and fails:
                call.gate.set_exception(ValueError("so"))
            elif not call.gate.done():
                call.gate.set_result([call.number])
        elif fails:
            call.incoming.fail(ValueError("so"))
        else:
            call.incoming.finish([call.number])

    @rule(call=calls)
    def cancel(self, call: Call) -> None:
        def step() -> None:
            call.given_up = True
            if not call.outgoing.result.done():
                call.decided = CallCancelledError
            call.outgoing.cancel(CallCancelledError("enough"))

        self.do(step)

    @rule(end=ends, most=st.sampled_from((1, 7, 1000, 100_000)), turns=st.integers(0, 2))
    def move(self, end: int, most: int, turns: int) -> None:
        async def step() -> None:
            self.joined.transports[end].move(most)
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(step())

    @rule()
    def settle(self) -> None:
        self.run(self.joined.settle())

    @rule(end=ends, how=st.sampled_from(("close", "refuse", "abort")))
    def lose_the_link(self, end: int, how: str) -> None:
        self.run(self.replace_the_link(end, how))

    async def replace_the_link(self, end: int, how: str) -> None:
        link = self.joined.ends[end].link
        if how == "abort":
            link.abort("cut")
        else:
            link.close(1000 if how == "close" else 1002)
        lost = self.joined
        await self.until(lambda: all(each.link.closed.done() for each in lost.ends), "the end of both links")
        for call in self.service.calls.values():
            if call.joined is lost:
                assert call.outgoing.result.done()
                assert call.outcome() in (call.decided, LinkClosedError)
                call.decided, call.given_up = call.outcome(), True
        await self.nothing_is_left()
        self.joined = await self.connect()

    # --- invariants -------------------------------------------------------------------------------

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert self.faults == []

    @invariant()
    def streams_wait_once(self) -> None:
        for end in self.joined.ends:
            waiting = end.scheduler.waiting
            assert len(set(waiting)) == len(waiting)

    @invariant()
    def no_stream_keeps_more_than_the_window(self) -> None:
        for call in self.service.calls.values():
            for side in (call.caller, call.callee):
                if side.stream is not None and self.flow:
                    assert side.stream.sending.credit > -LARGEST - 100
                    window = side.stream.receiving.window
                    assert window is None or window.available > -LARGEST - 100

    def credit_is_right(self, call: Call) -> None:
        """With nothing under way, the credit of a sender is the credit that its receiver has given."""
        for sender, receiver in ((call.caller, call.callee), (call.callee, call.caller)):
            if self.flow and sender.sends and sender.stream is not None and receiver.stream is not None:
                window = receiver.stream.receiving.window
                assert sender.stream.sending.credit == (STREAM_WINDOW if window is None else window.available)
                assert sender.stream.sending.credit > STREAM_WINDOW // 2 - LARGEST
                assert sender.stream.sending.pending_bytes == 0
                assert not sender.blocked

    async def nothing_is_left(self) -> None:
        for end in self.joined.ends:
            await self.until(lambda end=end: len(end.tasks) == 0, "the end of all tasks")  # type: ignore[misc]
            assert end.incoming == end.outgoing == {}
            if end.link.is_open:
                assert len(end.scheduler) == 0

    async def take_all(self) -> None:
        """Let all receivers take everything: sent messages arrive, unless their call was given up."""
        known = self.service.calls.values()
        for call in known:
            for side in (call.caller, call.callee):
                side.holds_itself = side.breaks = False
                side.refill = 0
                side.attach()
                side.release()
        for call in known:
            await self.until(lambda call=call: self.has_arrived(call), "what was sent")  # type: ignore[misc]
            if call.decided is None:
                self.credit_is_right(call)

    @staticmethod
    def has_arrived(call: Call) -> bool:
        """Return whether all that is due has arrived."""
        if call.given_up:
            return call.outgoing.result.done() or call.decided is not None
        down = call.caller.got == len(call.caller.expected)
        if call.decided is not None:
            return down and call.outgoing.result.done() and (call.caller.stream is None or call.caller.closed)
        closes = call.caller.closed is not call.callee.sends and call.callee.closed is not call.caller.sends
        started = call.incoming is not None
        return started and down and call.callee.got == len(call.callee.expected) and (call.gate is not None or closes)

    def teardown(self) -> None:
        try:
            self.run(self.end())
            assert self.faults == []
            assert not any("pagent-spool" in name for name in map(target_of, os.listdir("/proc/self/fd")))
        finally:
            self.run(self.joined.close())
            self.runner.close()

    async def end(self) -> None:
        await self.take_all()
        for call in self.service.calls.values():
            if call.decided is None:
                self.finish_call(call, call.number % 2 == 0)
        await self.take_all()
        for call in self.service.calls.values():
            await self.until(call.outgoing.result.done, "all outcomes")
            assert call.outcome() == call.decided
            assert call.endings == 1
        await self.nothing_is_left()


class MachineWithoutFlow(Machine):
    flow = False


def target_of(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("machine", [Machine, MachineWithoutFlow], ids=["flow", "no flow"])
def test_calls_and_their_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # A message that never arrives is waited for; to shrink such a failure would take for ever.
            phases=(Phase.reuse, Phase.generate),
        ),
    )
