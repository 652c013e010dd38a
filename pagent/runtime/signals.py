"""The signals that ask this process to end, or to read its configuration again, on every system and loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def end_signals(
    end: Callable[[], object],
    *,
    hangup: Callable[[], object] | None = None,
    interrupt: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Call ``end`` in the running loop for each SIGTERM, SIGINT and, where there is one, SIGHUP.

    With ``hangup``, that is called for each SIGHUP instead, and ``interrupt`` for each SIGINT. After the block the
    signals are ignored: the process is ending with an exit code, which a late signal must not change.
    """
    actions: dict[int, Callable[[], object]] = {signal.SIGTERM: end, signal.SIGINT: interrupt or end}
    # A closing terminal sends SIGHUP. nohup ignores it for its command, which therefore must not handle it.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        actions[signal.SIGHUP] = hangup or end
    with ExitStack() as stack:
        for number, action in actions.items():
            stack.callback(_handle(asyncio.get_running_loop(), number, action))
        try:
            yield
        finally:
            with _blocked(list(actions)):
                stack.close()
                for number in actions:
                    signal.signal(number, signal.SIG_IGN)


@contextmanager
def _blocked(numbers: list[int]) -> Iterator[None]:
    """Deliver signals that arrive within the block after it, where the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(loop: asyncio.AbstractEventLoop, number: int, action: Callable[[], object]) -> Callable[[], object]:
    """Install ``action`` for a signal, and return the function that removes it."""
    try:
        loop.add_signal_handler(number, action)
    except NotImplementedError:  # Windows: its loop wakes up for a signal, and then runs Python's own handlers
        pass
    else:
        return lambda: loop.remove_signal_handler(number)

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(action)

    before = signal.signal(number, handler)
    return lambda: signal.signal(number, before)
