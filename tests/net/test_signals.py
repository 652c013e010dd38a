"""Being told to end, on loops that know signals and on one that does not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pagent.net.signals import told_to_end
from tests.kit.peer import PATIENCE_S


class LoopOfWindows(asyncio.SelectorEventLoop):
    """It wakes up for signals, and has no handlers of its own."""

    def add_signal_handler(self, *args: Any) -> None:  # type: ignore[override]
        raise NotImplementedError

    def remove_signal_handler(self, sig: int) -> bool:
        raise NotImplementedError


LOOPS = [asyncio.SelectorEventLoop, LoopOfWindows]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself a signal there")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_is_told_and_none_afterwards(loop: Callable[[], asyncio.AbstractEventLoop], number: int) -> None:
    heard: list[str] = []
    before = {other: signal.getsignal(other) for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    async def listen() -> None:
        told = asyncio.Event()

        def tell() -> None:
            heard.append("told")
            told.set()

        with told_to_end(tell):
            for _ in range(2):
                told.clear()
                os.kill(os.getpid(), number)
                async with asyncio.timeout(PATIENCE_S):
                    await told.wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(listen())
    try:
        os.kill(os.getpid(), number)  # late
        assert heard == ["told"] * 2
    finally:
        for handler in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(handler, before[handler])


@pytest.mark.parametrize("loop", LOOPS)
def test_who_ignores_the_end_of_its_terminal_goes_on_to(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ignore() -> Any:
        with told_to_end(lambda: None):
            return signal.getsignal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            assert runner.run(ignore()) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
