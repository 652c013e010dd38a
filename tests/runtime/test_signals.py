"""Signals that end a process, on event loops with signal handlers and on one without."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pagent.runtime.signals import end_signals
from tests.kit.peer import PATIENCE_S


class LoopOfWindows(asyncio.SelectorEventLoop):
    """An event loop that wakes up for signals, but has no handlers for them."""

    def add_signal_handler(self, *args: Any) -> None:  # type: ignore[override]
        raise NotImplementedError

    def remove_signal_handler(self, sig: int) -> bool:
        raise NotImplementedError


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
LOOPS = [asyncio.SelectorEventLoop, LoopOfWindows]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself a signal there")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers: processes that a later test starts inherit ignored signals."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_is_reported_and_none_afterwards(
    loop: Callable[[], asyncio.AbstractEventLoop], number: int
) -> None:
    calls: list[str] = []

    async def listen() -> None:
        signalled = asyncio.Event()

        def notify() -> None:
            calls.append("signal")
            signalled.set()

        with end_signals(notify):
            for _ in range(2):
                signalled.clear()
                os.kill(os.getpid(), number)
                async with asyncio.timeout(PATIENCE_S):
                    await signalled.wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(listen())
    os.kill(os.getpid(), number)  # late
    assert calls == ["signal"] * 2


@pytest.mark.parametrize("loop", LOOPS)
def test_a_hangup_may_mean_to_read_the_configuration_again(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    calls: list[str] = []

    async def listen() -> None:
        signalled = asyncio.Event()
        with end_signals(signalled.set, hangup=lambda: calls.append("reload")):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await signalled.wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(listen())
    assert calls == ["reload"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_process_that_ignores_the_end_of_its_terminal_goes_on(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ignore() -> Any:
        with end_signals(lambda: None):
            return signal.getsignal(signal.SIGHUP)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ignore()) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
