"""The slice of time that calls have in one iteration of the loop."""

from __future__ import annotations

import asyncio
import time

from pagent.rpc import methods
from pagent.rpc.calls import IncomingCall
from pagent.runtime.timeslice import CALLS_TURN_S, current_slice
from pagent.wire import identity
from tests.kit.joined import Joined
from tests.kit.short_loop import ShortLoop, fail_for_memory


def use_up() -> None:
    end = time.monotonic() + 2 * CALLS_TURN_S
    while time.monotonic() < end:
        pass


async def test_it_is_over_after_its_time_and_begins_anew_in_the_next_iteration() -> None:
    found = current_slice()
    assert found is current_slice()
    assert not found.is_over()
    use_up()
    assert found.is_over()
    await found.wait()
    await asyncio.sleep(0)  # in the iteration of the wait, the slice has begun already
    assert not found.is_over()


def test_it_begins_anew_after_a_moment_without_memory() -> None:
    async def use() -> None:
        fail_for_memory(current_slice().is_over)
        assert not current_slice().is_over()
        use_up()
        await asyncio.sleep(0)
        assert not current_slice().is_over()

    with asyncio.Runner(loop_factory=ShortLoop) as runner:
        runner.run(use())


class Slow:
    """Calls that take long, and how many of them were dealt with in one iteration at most."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self._in_iteration = 0

    @methods.unary
    def slow(self, call: IncomingCall) -> int:
        use_up()
        self.calls += 1
        if not self._in_iteration:
            asyncio.get_running_loop().call_soon(self._next)
        self._in_iteration += 1
        self.most = max(self.most, self._in_iteration)
        return self.calls

    def _next(self) -> None:
        self._in_iteration = 0


async def test_calls_that_came_together_are_spread_over_iterations_in_their_order() -> None:
    service = Slow()
    joined = Joined(methods.methods_of(service), flow=True)
    assert identity.FLOW in identity.EXTENSIONS
    await joined.settle()
    calls = [joined.dialled.start_call(20, "slow", [], {}) for _ in range(10)]
    while service.calls < 10:
        await joined.settle()
    await joined.settle()
    assert [call.result.result() for call in calls] == list(range(1, 11))
    assert service.most <= 2  # those of two iterations of the test's own loop
    await joined.close()
